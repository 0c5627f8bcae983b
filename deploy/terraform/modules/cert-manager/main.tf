# cert-manager, and the three issuers. The issuers are a chart of their own that is installed after cert-manager's, whose definitions
# they need: a manifest in Terraform would ask for the definition when planning, before it is there.

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
  name      = "issuers"
  namespace = helm_release.cert_manager.namespace
  chart     = abspath("${path.module}/../../../helm/issuers")
  atomic    = true
  timeout   = 300
  values = [yamlencode({
    letsEncrypt = {
      enabled   = var.lets_encrypt
      email     = var.email
      className = var.class_name
    }
    selfSigned = { enabled = true }
  })]
}
