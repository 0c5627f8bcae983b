variable "environment" {
  description = "stage or production."
  type        = string

  validation {
    condition     = contains(["stage", "production"], var.environment)
    error_message = "Give environment stage or production."
  }
}

variable "region" {
  description = "Region of everything, such as nyc1."
  type        = string
}

variable "ip_range" {
  description = "The private network."
  type        = string
}

variable "cluster_subnet" {
  description = "Network of the pods."
  type        = string
}

variable "service_subnet" {
  description = "Network of the Services."
  type        = string
}

variable "other_networks" {
  description = "Networks that this one is to be connected with, and so must not overlap with."
  type        = list(string)
  default     = []
}

variable "kubernetes_minor" {
  description = "Minor version of Kubernetes."
  type        = string
  default     = "1.35"
}

variable "kubernetes_version" {
  description = "An exact version instead, such as the architecture's 1.31.1-do.4 while DigitalOcean offered it."
  type        = string
  default     = null
}

variable "running_version" {
  description = "The version that the cluster has, which make gives: it is kept where DigitalOcean has withdrawn it."
  type        = string
  default     = null
}

variable "ha" {
  description = "A highly available control plane."
  type        = bool
}

variable "auto_upgrade" {
  description = "Install patches of Kubernetes in the maintenance window."
  type        = bool
}

variable "api_allowed_addresses" {
  description = "From where the API of the cluster is reached; null says nothing of it, and everybody reaches that of a new cluster."
  type        = list(string)
  default     = null
}

variable "pool" {
  description = "The nodes."
  type = object({
    size        = string
    start_nodes = number
    min_nodes   = number
    max_nodes   = number
  })
}

variable "autoscaler" {
  description = "What the autoscaler of nodes prefers, and when it takes a node away."
  type = object({
    expanders                        = optional(list(string), ["least-waste", "random"])
    scale_down_utilization_threshold = optional(number, 0.5)
    scale_down_unneeded_time         = optional(string, "10m")
  })
  default = {}
}

variable "registry_integration" {
  description = "Let the cluster pull from the registry of the account."
  type        = bool
  default     = false
}

variable "database" {
  description = "Size and standbys of a managed MySQL; null runs MySQL in the cluster."
  type = object({
    size     = string
    standbys = number
  })
  default = null
}

variable "alert_emails" {
  description = "Who is told when something is short: confirmed addresses of the account's team."
  type        = list(string)
}

variable "deletion_protection" {
  description = "Refuse every plan that would destroy or replace network, cluster or database."
  type        = bool

  validation {
    condition     = var.deletion_protection || var.environment != "production"
    error_message = "Set deletion_protection to true: production is not to be destroyed by a plan."
  }
}
