variable "lets_encrypt" {
  description = "Make the issuers letsencrypt-staging and letsencrypt-prod; self-signed is there always."
  type        = bool
  default     = true
}

variable "email" {
  description = "Whom Let's Encrypt writes to when a certificate is about to run out."
  type        = string
  default     = ""

  validation {
    condition     = !var.lets_encrypt || can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", var.email))
    error_message = "Give email the address that Let's Encrypt is to write to, or set lets_encrypt to false."
  }
}

variable "class_name" {
  description = "Class of the Ingresses by which challenges are answered."
  type        = string
  default     = "nginx"
}

variable "chart_version" {
  description = "Version of cert-manager's chart."
  type        = string
  default     = "v1.21.2"

  validation {
    condition     = can(regex("^v[0-9]+\\.[0-9]+\\.[0-9]+$", var.chart_version))
    error_message = "Give chart_version a version such as v1.21.2."
  }
}
