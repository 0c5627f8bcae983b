# What the chart is told of what Terraform made, and the Secrets with the passwords of a managed database and with its authority. Whoever owns
# the shop's release, Terraform or Helm, installs it with these values on top of those of the environment.

locals {
  database = var.database == null ? { mode = "mysql", existingSecret = "", external = null, mysql = { storage = { size = "${var.storage_gib}Gi" } } } : {
    mode           = "external"
    existingSecret = "database"
    # Nothing of DigitalOcean's says that certificates name the private host, which VERIFY_IDENTITY would look for.
    external = { host = var.database.host, port = var.database.port, cidrs = var.database.cidrs, sslMode = "VERIFY_CA", caSecret = "database-ca" }
    mysql    = null
  }
  # A pod reads the authority as it starts, so another one has to make pods anew.
  defaults = var.database == null ? null : { podAnnotations = { "checksum/database-ca" = sha256(var.database.authority) } }
  backup = var.backup == null ? { bucket = "", existingSecret = "", region = "", recipients = [], shipping = null, paused = false, restoreTest = { identitySecret = "" } } : {
    bucket         = var.backup.bucket
    region         = var.backup.region
    existingSecret = var.backup.secret
    recipients     = var.backup.recipients
    paused         = var.backup.paused
    restoreTest    = { identitySecret = var.backup.restore_test }
    # The provider of a managed server keeps its binary logs himself.
    shipping = { enabled = var.database == null }
  }
}

# Passwords of a managed database. Whoever reads the state reads them, as docs/terraform.md says.
resource "kubernetes_secret_v1" "database" {
  count = var.database == null ? 0 : 1

  metadata {
    name      = "database"
    namespace = var.namespace
  }
  data = var.passwords
}

# The authority that the server's certificate is checked with.
resource "kubernetes_secret_v1" "database_ca" {
  count = var.database == null ? 0 : 1

  metadata {
    name      = "database-ca"
    namespace = var.namespace
  }
  data = { "ca.crt" = var.database.authority }
}
