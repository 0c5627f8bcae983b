variable "domain" {
  description = "The domain, such as example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "Give domain a name such as example.com."
  }
}

variable "hosts" {
  description = "Full names that lead to the address: the domain, or names below it."
  type        = list(string)

  validation {
    condition     = length(var.hosts) > 0 && alltrue([for host in var.hosts : host == var.domain || endswith(host, ".${var.domain}")])
    error_message = "Give hosts names that are the domain ${var.domain} or below it."
  }
}

variable "address" {
  description = "Where they lead: the address of the load balancer."
  type        = string

  validation {
    condition     = can(cidrnetmask("${var.address}/32"))
    error_message = "Give address an IPv4 address: the records are of the type A."
  }
}

variable "ttl" {
  description = "How long, in seconds, others keep a name; what a move to another load balancer takes."
  type        = number
  default     = 300

  validation {
    condition     = var.ttl >= 30
    error_message = "Give ttl at least 30 seconds."
  }
}
