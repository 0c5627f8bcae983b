# cert-manager, and the three issuers. The issuers are a chart of their own that is installed after cert-manager's, whose definitions
# they need: a manifest in Terraform would ask for the definition when planning, before it is there.

locals {
  # By no absolute path: it is in the state, and another checkout would find something to do.
  issuers = "${path.module}/../../../helm/issuers"

  # A chart in a folder keeps its version while it changes; this text changes with it, and so Terraform sees that there is something to do.
  checksum = substr(sha256(join("", [for file in sort(fileset(local.issuers, "**")) : filesha256("${local.issuers}/${file}")])), 0, 12)
}

resource "helm_release" "cert_manager" {
  name             = "cert-manager"
  namespace        = "cert-manager"
  create_namespace = true
  repository       = "oci://quay.io/jetstack/charts"
  chart            = "cert-manager"
  version          = var.chart_version
  values           = [file("${path.module}/../../../helm/prerequisites/cert-manager.yaml")]
  atomic           = true
  timeout          = 600
}

resource "helm_release" "issuers" {
  name        = "issuers"
  namespace   = helm_release.cert_manager.namespace
  chart       = local.issuers
  description = "issuers, chart ${local.checksum}"
  atomic      = true
  timeout     = 300
  values = [yamlencode({
    letsEncrypt = {
      enabled   = var.lets_encrypt
      email     = var.email
      className = var.class_name
    }
    selfSigned = { enabled = true }
  })]
}
