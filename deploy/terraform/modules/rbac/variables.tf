variable "environment" {
  description = "stage or production: the namespace of the shop is ecommerce-ENVIRONMENT."
  type        = string

  validation {
    condition     = contains(["stage", "production"], var.environment)
    error_message = "Give environment stage or production."
  }
}

variable "network_policy_mode" {
  description = "The chart's networkPolicy.mode: per-edge, allow-same-namespace, or none, which leaves the policies out that deny everything."
  type        = string
  default     = "per-edge"

  validation {
    condition     = contains(["per-edge", "allow-same-namespace", "none"], var.network_policy_mode)
    error_message = "Give network_policy_mode per-edge, allow-same-namespace or none."
  }
}

variable "secret_access" {
  description = "Let both accounts read Secrets too. That is every password of the namespace: docs/decisions/0018-secrets-are-not-for-readers.md."
  type        = bool
  default     = false
}
