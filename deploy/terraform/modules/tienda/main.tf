# The shop: the chart's release, with the values of its environment and what Terraform knows of the rest.

locals {
  chart = abspath("${path.module}/../../../helm/tienda")

  # A chart in a folder keeps its version while it changes; this text changes with it, and so Terraform sees that there is something to do.
  checksum = substr(sha256(join("", [for file in sort(fileset(local.chart, "**")) : filesha256("${local.chart}/${file}")])), 0, 12)

  database = var.database == null ? { mode = "mysql", existingSecret = "", external = null, mysql = { storage = { size = "${var.storage_gib}Gi" } } } : {
    mode           = "external"
    existingSecret = "database"
    external       = { host = var.database.host, port = var.database.port, cidrs = var.database.cidrs }
    mysql          = null
  }
  backup = var.backup == null ? { bucket = "", existingSecret = "", region = "", recipients = [], shipping = null } : {
    bucket         = var.backup.bucket
    region         = var.backup.region
    existingSecret = var.backup.secret
    recipients     = var.backup.recipients
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

resource "helm_release" "main" {
  name        = "shop"
  namespace   = var.namespace
  chart       = local.chart
  description = "tienda, chart ${local.checksum}"
  atomic      = true
  timeout     = 900

  values = [
    file("${local.chart}/values-${var.environment}.yaml"),
    yamlencode({
      image         = { for key, value in var.image : key => value if value != null }
      shop          = { stripe = { existingSecret = var.stripe_secret } }
      baseline      = { create = false }
      networkPolicy = { mode = var.network_policy_mode }
      monitoring    = { namespace = var.monitoring_namespace }
      entry = {
        kind      = var.entry.kind
        namespace = var.entry.namespace
        host      = var.entry.host
        tls       = { issuer = var.entry.issuer }
      }
      database = { for key, value in local.database : key => value if value != null }
      backup   = { for key, value in local.backup : key => value if value != null }
    }),
  ]

  depends_on = [kubernetes_secret_v1.database]
}
