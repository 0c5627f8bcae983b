# The shop: the chart's release, with the values of its environment, what Terraform knows of the rest, and an image.

locals {
  # By no absolute path: it is in the state, and another checkout would find something to do.
  chart = "${path.module}/../../../helm/tienda"

  # A chart in a folder keeps its version while it changes; this text changes with it, and so Terraform sees that there is something to do.
  checksum = substr(sha256(join("", [for file in sort(fileset(local.chart, "**")) : filesha256("${local.chart}/${file}")])), 0, 12)
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
    var.settings,
    yamlencode({ image = { for key, value in var.image : key => value if value != null } }),
  ]
}
