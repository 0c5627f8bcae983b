variable "name" {
  description = "Name of the database."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,62}$", var.name))
    error_message = "Give name lower case letters, digits and hyphens, a letter first, at least 3."
  }
}

variable "region" {
  description = "Region, that of the VPC."
  type        = string
}

variable "vpc_id" {
  description = "Id of the VPC that the servers have their private address in."
  type        = string
}

variable "cluster_id" {
  description = "Id of the cluster, which alone reaches the database."
  type        = string
}

variable "size" {
  description = "Size of each server, such as db-s-1vcpu-2gb."
  type        = string

  validation {
    condition     = can(regex("^(db|gd|so|m|c)[0-9a-z]*-", var.size))
    error_message = "Give size a size of managed databases, such as db-s-1vcpu-2gb."
  }
}

variable "standbys" {
  description = "Servers that take over when the first fails, 0 to 2. The smallest size, of 1 GB, can have none."
  type        = number

  validation {
    condition     = contains([0, 1, 2], var.standbys)
    error_message = "Give standbys 0, 1 or 2."
  }
  validation {
    condition     = var.standbys == 0 || !endswith(var.size, "-1gb")
    error_message = "Servers of 1 GB can have no standby. Set size to db-s-1vcpu-2gb or more, or standbys to 0."
  }
}

variable "prefix" {
  description = "Schemas and accounts are called PREFIX_order and so on: the chart's database.prefix."
  type        = string
  default     = "tienda"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,15}$", var.prefix))
    error_message = "Give prefix what the chart takes as database.prefix: up to 16 lower case letters and digits, a letter first."
  }
}

variable "components" {
  description = "Components that store something: those of the chart's services with database."
  type        = set(string)
  default     = ["zipkin", "user-service", "product-service", "order-service", "payment-service", "shipping-service", "favourite-service"]

  validation {
    condition     = length(var.components) > 0 && alltrue([for name in var.components : can(regex("^[a-z][a-z0-9-]*$", name)) && length("${var.prefix}_${trimsuffix(name, "-service")}") <= 32])
    error_message = "Give components the names of services of the chart, such as order-service; with prefix before it none may be longer than the 32 characters that a name of an account has in MySQL."
  }
}

variable "maintenance" {
  description = "When the servers are patched: the day, and the hour in UTC."
  type = object({
    day  = string
    hour = string
  })
  default = { day = "tuesday", hour = "05:00:00" }

  validation {
    condition     = contains(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], var.maintenance.day) && can(regex("^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$", var.maintenance.hour))
    error_message = "Give maintenance.day a day in English, and maintenance.hour a time such as 05:00:00."
  }
}

variable "tags" {
  description = "Tags of the database."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Refuse every plan that would destroy or replace the database."
  type        = bool
}
