variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,60}[a-z0-9]$", var.name))
    error_message = "Give name lower case letters, digits and hyphens, a letter first."
  }
}

variable "region" {
  description = "Region, that of the VPC. A region is one data centre: a cluster cannot span several."
  type        = string
}

variable "vpc_id" {
  description = "Id of the VPC."
  type        = string
}

variable "kubernetes_minor" {
  description = "Minor version of Kubernetes, such as 1.35; the newest patch of it is taken. A higher one upgrades the cluster, and there is no way back."
  type        = string

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_minor))
    error_message = "Give kubernetes_minor a minor version such as 1.35; an exact one belongs into kubernetes_version."
  }
}

variable "kubernetes_version" {
  description = "An exact version that DigitalOcean offers, such as 1.31.1-do.4, instead of the newest of kubernetes_minor."
  type        = string
  default     = null

  validation {
    condition     = var.kubernetes_version == null || can(regex("^1\\.[0-9]+\\.[0-9]+-do\\.[0-9]+$", var.kubernetes_version))
    error_message = "Give kubernetes_version a version as DigitalOcean writes it, such as 1.31.1-do.4, or null."
  }
}

variable "running_version" {
  description = "The version that the cluster has, which is kept where DigitalOcean offers only older patches of the same minor version; null before there is a cluster."
  type        = string
  default     = null

  validation {
    condition     = var.running_version == null || can(regex("^1\\.[0-9]+\\.[0-9]+-do\\.[0-9]+$", var.running_version))
    error_message = "Give running_version a version as DigitalOcean writes it, such as 1.35.6-do.0, or null."
  }
}

variable "ha" {
  description = "A highly available control plane. It costs money and cannot be turned off again."
  type        = bool

  validation {
    condition     = var.ha != null
    error_message = "Set ha to true or false: from Kubernetes 1.36 on what is not set is on, costs money, and cannot be turned off again."
  }
}

variable "cluster_subnet" {
  description = "Network of the pods. It is chosen once."
  type        = string

  validation {
    condition     = try(cidrhost(var.cluster_subnet, 0) == split("/", var.cluster_subnet)[0] && can(cidrnetmask(var.cluster_subnet)), false)
    error_message = "Give cluster_subnet a network by its first address, such as 10.244.0.0/16."
  }
}

variable "service_subnet" {
  description = "Network of the Services. It is chosen once."
  type        = string

  validation {
    condition     = try(cidrhost(var.service_subnet, 0) == split("/", var.service_subnet)[0] && can(cidrnetmask(var.service_subnet)), false)
    error_message = "Give service_subnet a network by its first address, such as 10.245.0.0/16."
  }
  validation {
    # Two networks overlap where they are the same in the bits that both have.
    condition     = try(length(distinct([for cidr in [var.cluster_subnet, var.service_subnet] : cidrhost("${split("/", cidr)[0]}/${min(split("/", var.cluster_subnet)[1], split("/", var.service_subnet)[1])}", 0)])) == 2, true)
    error_message = "Give service_subnet a network that has no address in common with that of the pods, ${var.cluster_subnet}."
  }
}

variable "api_allowed_addresses" {
  description = "Public addresses and networks from which the API of the cluster is reached. Null says nothing of it, and everybody reaches that of a new cluster; an empty list lifts what was said before."
  type        = list(string)
  default     = null

  validation {
    condition     = alltrue([for address in coalesce(var.api_allowed_addresses, []) : try(cidrhost(strcontains(address, "/") ? address : "${address}/32", 0) == split("/", address)[0] && can(cidrnetmask(strcontains(address, "/") ? address : "${address}/32")) && !endswith(address, "/0"), false)])
    error_message = "Give api_allowed_addresses IPv4 addresses such as 203.0.113.7, or networks by their first address such as 203.0.113.0/24; not everybody, which is null in a new cluster and otherwise an empty list."
  }
}

variable "pool" {
  description = "The nodes: their size, how many at the start, and between how many the autoscaler chooses."
  type = object({
    size        = string
    start_nodes = number
    min_nodes   = number
    max_nodes   = number
  })

  validation {
    condition     = var.pool.min_nodes >= 1 && var.pool.min_nodes <= var.pool.max_nodes
    error_message = "Give pool.min_nodes at least 1 and at most pool.max_nodes: ${var.pool.min_nodes} to ${var.pool.max_nodes} is no range."
  }
  validation {
    condition     = var.pool.start_nodes >= var.pool.min_nodes && var.pool.start_nodes <= var.pool.max_nodes
    error_message = "Give pool.start_nodes a number between pool.min_nodes and pool.max_nodes."
  }
}

variable "auto_upgrade" {
  description = "Install patches of the minor version in the maintenance window. Minor versions never come by themselves."
  type        = bool
}

variable "maintenance" {
  description = "When patches are installed: the day, or any, and the hour in UTC."
  type = object({
    day        = string
    start_time = string
  })
  default = { day = "tuesday", start_time = "04:00" }

  validation {
    condition     = contains(["any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], var.maintenance.day) && can(regex("^([01][0-9]|2[0-3]):00$", var.maintenance.start_time))
    error_message = "Give maintenance.day a day in English, or any, and maintenance.start_time a full hour such as 04:00."
  }
}

variable "autoscaler" {
  description = "What the autoscaler prefers and when it takes a node away: below which share of requests, for how long."
  type = object({
    expanders                        = optional(list(string), ["least-waste", "random"])
    scale_down_utilization_threshold = optional(number, 0.5)
    scale_down_unneeded_time         = optional(string, "10m")
  })
  default = {}

  validation {
    condition     = alltrue([for expander in var.autoscaler.expanders : contains(["random", "priority", "least-waste"], expander)]) && var.autoscaler.scale_down_utilization_threshold > 0 && var.autoscaler.scale_down_utilization_threshold <= 1 && can(regex("^[0-9]+[sm]$", var.autoscaler.scale_down_unneeded_time))
    error_message = "Give autoscaler.expanders any of random, priority and least-waste, scale_down_utilization_threshold a share between 0 and 1, and scale_down_unneeded_time minutes or seconds such as 10m."
  }
}

variable "registry_integration" {
  description = "Let the cluster pull from the registry of the account."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of the cluster and of its nodes; alerts and firewalls find them by these."
  type        = list(string)

  validation {
    condition     = length(var.tags) > 0
    error_message = "Give tags at least one: alerts find the nodes by it."
  }
}

variable "deletion_protection" {
  description = "Refuse every plan that would destroy or replace the cluster."
  type        = bool
}
