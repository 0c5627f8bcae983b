variable "kind" {
  description = "nginx is F5's NGINX Ingress Controller; ingress-nginx the community's, which was retired in March 2026. The chart's entry.kind must be the same."
  type        = string
  default     = "nginx"

  validation {
    condition     = contains(["nginx", "ingress-nginx"], var.kind)
    error_message = "Give kind nginx or ingress-nginx."
  }
  validation {
    condition     = var.kind != "ingress-nginx" || var.accept_retired
    error_message = "The community's ingress-nginx was retired in March 2026: its holes are not mended any more. Set kind to nginx, or accept_retired to true."
  }
}

variable "accept_retired" {
  description = "Yes, a controller whose holes are not mended any more."
  type        = bool
  default     = false
}

variable "namespace" {
  description = "Namespace of the controller, which is there."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "Give namespace the name of a namespace: lower case letters, digits and hyphens."
  }
}

variable "chart_version" {
  description = "Version of the controller's chart; one that this module was written for when null."
  type        = string
  default     = null

  validation {
    condition     = var.chart_version == null || can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.chart_version))
    error_message = "Give chart_version a version such as 2.4.4, or null."
  }
}

variable "replicas" {
  description = "Between how many pods the autoscaler chooses."
  type = object({
    min = number
    max = number
  })
  default = { min = 2, max = 5 }

  validation {
    condition     = var.replicas.min >= 1 && var.replicas.min <= var.replicas.max
    error_message = "Give replicas.min at least 1 and at most replicas.max."
  }
}

variable "load_balancer_name" {
  description = "Name of the load balancer."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,253}[a-zA-Z0-9])?$", var.load_balancer_name))
    error_message = "Give load_balancer_name letters, digits, dots and hyphens."
  }
}

variable "load_balancer_nodes" {
  description = "Nodes of the load balancer; each is paid for. With two it survives the loss of one."
  type        = number
  default     = 1

  validation {
    condition     = var.load_balancer_nodes >= 1 && var.load_balancer_nodes <= 200 && floor(var.load_balancer_nodes) == var.load_balancer_nodes
    error_message = "Give load_balancer_nodes a number from 1 to 200."
  }
}
