variable "name" {
  description = "Name of what is watched, for the texts of the alerts."
  type        = string
}

variable "emails" {
  description = "Who is written to. DigitalOcean takes only addresses of the account's team that were confirmed."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0 && alltrue([for email in var.emails : can(regex("^[^@[:space:]]+@[^@[:space:]]+$", email))])
    error_message = "Give emails at least one address: an alert that nobody reads is none."
  }
}

variable "node_tag" {
  description = "Tag of the nodes that are watched; null leaves nodes out."
  type        = string
  default     = null
}

variable "load_balancer_watched" {
  description = "Watch a load balancer."
  type        = bool
  default     = false
}

variable "load_balancer_id" {
  description = "Id of the load balancer."
  type        = string
  default     = null
}

variable "database_watched" {
  description = "Watch a managed database."
  type        = bool
  default     = false
}

variable "database_id" {
  description = "Id of the managed database."
  type        = string
  default     = null
}

variable "thresholds" {
  description = "Above how many percent of processor time, memory and disk an alert is sent."
  type = object({
    cpu    = optional(number, 80)
    memory = optional(number, 85)
    disk   = optional(number, 80)
  })
  default = {}

  validation {
    condition     = alltrue([for value in values(var.thresholds) : value > 0 && value < 100])
    error_message = "Give thresholds percents between 0 and 100."
  }
}
