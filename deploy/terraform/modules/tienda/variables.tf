variable "environment" {
  description = "stage or production: whose values the chart is given."
  type        = string

  validation {
    condition     = contains(["stage", "production"], var.environment)
    error_message = "Give environment stage or production."
  }
}

variable "namespace" {
  description = "Namespace of the shop, which is there."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "Give namespace the name of a namespace: lower case letters, digits and hyphens."
  }
}

variable "image" {
  description = "The container image: where it is, and its tag or better its digest."
  type = object({
    repository = string
    tag        = optional(string)
    digest     = optional(string)
  })

  validation {
    condition     = var.image.digest == null || can(regex("^sha256:[0-9a-f]{64}$", var.image.digest))
    error_message = "Give image.digest as sha256: and 64 digits, or leave it out."
  }
  validation {
    condition     = (var.image.tag != null && var.image.tag != "latest") || var.image.digest != null
    error_message = "Give image a tag other than latest, or a digest: nobody could say which shop runs."
  }
}

variable "settings" {
  description = "What the chart is told of what Terraform made, as YAML: the values of module settings."
  type        = string
}
