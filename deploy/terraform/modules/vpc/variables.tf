variable "name" {
  description = "Name of the network."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9.-]{1,60}$", var.name))
    error_message = "Give name letters, digits, dots and hyphens, 60 at most."
  }
}

variable "region" {
  description = "Region, such as nyc1."
  type        = string
}

variable "ip_range" {
  description = "The network, such as 10.10.0.0/16."
  type        = string

  validation {
    condition     = can(cidrhost(var.ip_range, 0)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.ip_range)) && try(tonumber(split("/", var.ip_range)[1]), 0) >= 16 && try(tonumber(split("/", var.ip_range)[1]), 99) <= 28
    error_message = "Give ip_range a private network of 16 to 28 bits, such as 10.10.0.0/16."
  }
  validation {
    condition     = try(cidrhost(var.ip_range, 0) == split("/", var.ip_range)[0], true)
    error_message = "Give ip_range its first address: ${var.ip_range} is one in the network ${try(cidrsubnet(var.ip_range, 0, 0), "-")}."
  }
}

variable "other_networks" {
  description = "Networks of which none may overlap with another, or with this one: those of pods and of Services, and networks that it is to be connected with."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.other_networks : try(cidrhost(cidr, 0) == split("/", cidr)[0] && can(cidrnetmask(cidr)), false)])
    error_message = "Give other_networks networks by their first addresses, such as 10.244.0.0/16."
  }
}

variable "deletion_protection" {
  description = "Refuse every plan that would destroy or replace the network."
  type        = bool
}
