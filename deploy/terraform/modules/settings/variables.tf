variable "environment" {
  description = "stage or production."
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

variable "monitoring_namespace" {
  description = "Namespace of what reads metrics."
  type        = string
}

variable "entry" {
  description = "The way in: kind of the controller and its namespace, name of the shop, ClusterIssuer of its certificate."
  type = object({
    kind      = string
    namespace = string
    host      = string
    issuer    = string
  })
}

variable "network_policy_mode" {
  description = "The chart's networkPolicy.mode; that of module rbac must be the same."
  type        = string
  default     = "per-edge"

  validation {
    condition     = contains(["per-edge", "allow-same-namespace", "none"], var.network_policy_mode)
    error_message = "Give network_policy_mode per-edge, allow-same-namespace or none."
  }
}

variable "database" {
  description = "A managed MySQL: its private name, its port, the networks that it is in, and the certificate, in PEM, of the authority that signs the server's; null runs MySQL in the cluster."
  type = object({
    host      = string
    port      = number
    cidrs     = list(string)
    authority = string
  })
  default = null

  validation {
    condition     = var.database == null || can(regex("-----BEGIN CERTIFICATE-----", var.database.authority))
    error_message = "Give database.authority a certificate in PEM, which the data source digitalocean_database_ca has: without it nobody could tell the server from another."
  }
}

variable "passwords" {
  description = "Passwords of a managed MySQL by account, and root-password."
  type        = map(string)
  default     = {}
  sensitive   = true

  validation {
    condition     = var.database == null || contains(keys(var.passwords), "root-password")
    error_message = "Give passwords those of the managed database: root-password, and one for each account."
  }
}

variable "storage_gib" {
  description = "Size of MySQL's volume in GiB, where it runs in the cluster. It can grow and not shrink."
  type        = number
  default     = 10

  validation {
    condition     = var.storage_gib >= 1 && floor(var.storage_gib) == var.storage_gib
    error_message = "Give storage_gib a whole number of GiB, at least 1."
  }
}

variable "backup" {
  description = "Where backups go: address of the bucket and of a folder in it, its region, the Secret with its keys, and the public keys of those who can open them; paused, while a database is brought back; the Secret with a private key that restore tests need. Null takes none."
  type = object({
    bucket       = string
    region       = string
    secret       = string
    recipients   = list(string)
    paused       = optional(bool, false)
    restore_test = optional(string, "")
  })

  validation {
    condition     = var.environment != "production" || var.backup != null
    error_message = "Production without backups is refused. Give backup a bucket, its keys and at least one public key: docs/recovery.md."
  }
  validation {
    condition     = var.backup == null || (try(length(var.backup.recipients), 0) > 0 && can(regex("^https?://[^/]+/.+", var.backup.bucket)) && try(length(var.backup.secret), 0) > 0)
    error_message = "Give backup.bucket an address such as https://nyc3.digitaloceanspaces.com/BUCKET/stage, backup.secret the name of a Secret, and backup.recipients at least one public key, which tienda backup keygen makes."
  }
}

variable "stripe_secret" {
  description = "Secret with the keys of Stripe; empty leaves card payments out."
  type        = string
  default     = ""
}
