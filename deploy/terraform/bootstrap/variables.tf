variable "state_bucket" {
  description = "Name of the bucket of the states. Names are one customer's of all: if it is taken, give another, and to make as STATE_BUCKET."
  type        = string
  default     = "ecommerce-terraform-state"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "Give state_bucket 3 to 63 lower case letters, digits and hyphens."
  }
}

variable "backup_bucket" {
  description = "Name of the bucket of the backups."
  type        = string
  default     = "ecommerce-backups"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.backup_bucket)) && var.backup_bucket != var.state_bucket
    error_message = "Give backup_bucket 3 to 63 lower case letters, digits and hyphens, and not the name of state_bucket."
  }
}

variable "region" {
  description = "Region of the buckets. nyc1 has no Spaces; nyc3 is next to it."
  type        = string
  default     = "nyc3"

  validation {
    condition     = can(regex("^[a-z]{3}[0-9]$", var.region)) && var.region != "nyc1"
    error_message = "Give region one that has Spaces, such as nyc3; nyc1 has none."
  }
}

variable "keep_days" {
  description = "How long, in days, what was overwritten or deleted is kept."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_days >= 7
    error_message = "Give keep_days at least 7: a lost state is sometimes missed a week later."
  }
}

variable "domain" {
  description = "Domain that DigitalOcean is to serve for all environments; null leaves names to somebody else."
  type        = string
  default     = null
}
