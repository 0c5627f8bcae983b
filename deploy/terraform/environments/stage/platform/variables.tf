variable "environment" {
  description = "stage or production."
  type        = string

  validation {
    condition     = contains(["stage", "production"], var.environment)
    error_message = "Give environment stage or production."
  }
}

variable "kubeconfig" {
  description = "File with the credentials of the cluster."
  type        = string

  validation {
    condition     = fileexists(pathexpand(var.kubeconfig))
    error_message = "There is no file ${var.kubeconfig}. Apply the root cluster first, then run make kubeconfig-${var.environment}, which writes it."
  }
}

variable "context" {
  description = "Context in that file; its current one when null."
  type        = string
  default     = null
}

variable "release_owner" {
  description = "Who installs the shop: terraform, with the rest, or helm, by make deploy-ENVIRONMENT, for those whose deployments are nobody's apply."
  type        = string
  default     = "terraform"

  validation {
    condition     = contains(["terraform", "helm"], var.release_owner)
    error_message = "Give release_owner terraform or helm."
  }
}

variable "image" {
  description = "The container image: where it is, and its tag or better its digest. Helm is given it by make deploy-ENVIRONMENT."
  type = object({
    repository = string
    tag        = optional(string)
    digest     = optional(string)
  })
  default = null

  validation {
    condition     = var.release_owner != "terraform" || var.image != null
    error_message = "Give image, here or as IMAGE with make, or set release_owner to helm: Terraform installs the shop."
  }
}

variable "host" {
  description = "Name of the shop, such as shop.example.com."
  type        = string
}

variable "domain" {
  description = "Domain at DigitalOcean that the name is to be entered in; empty leaves names to somebody else."
  type        = string
  default     = ""
  nullable    = false
}

variable "issuer" {
  description = "Who signs the certificate: letsencrypt-staging, letsencrypt-prod or self-signed."
  type        = string

  validation {
    condition     = contains(["letsencrypt-staging", "letsencrypt-prod", "self-signed"], var.issuer)
    error_message = "Give issuer letsencrypt-staging, letsencrypt-prod or self-signed."
  }
}

variable "acme_email" {
  description = "Whom Let's Encrypt writes to."
  type        = string
  default     = ""
}

variable "alert_emails" {
  description = "Who is told when something is short: confirmed addresses of the account's team."
  type        = list(string)
}

variable "entry" {
  description = "The ingress controller, and how many nodes its load balancer has."
  type = object({
    kind                = optional(string, "nginx")
    accept_retired      = optional(bool, false)
    load_balancer_nodes = number
  })
}

variable "network_policy_mode" {
  description = "Who may talk to whom: per-edge, allow-same-namespace or none."
  type        = string
  default     = "per-edge"
}

variable "secret_access" {
  description = "Let microservices-sa and monitoring-sa read Secrets."
  type        = bool
  default     = false
}

variable "managed_database" {
  description = "Use the managed MySQL that the root cluster made."
  type        = bool
}

variable "ip_range" {
  description = "The private network, where the managed MySQL is."
  type        = string
}

variable "storage_gib" {
  description = "Size of MySQL's volume in GiB, where it runs in the cluster."
  type        = number
  default     = 10
}

variable "backup" {
  description = "Where backups go, with paused = true while a database is brought back; null takes none, which production refuses."
  type = object({
    bucket       = string
    region       = string
    secret       = string
    recipients   = list(string)
    paused       = optional(bool, false)
    restore_test = optional(string, "")
  })
  default = null
}

variable "stripe_secret" {
  description = "Secret with the keys of Stripe; empty leaves card payments out."
  type        = string
  default     = ""
}
