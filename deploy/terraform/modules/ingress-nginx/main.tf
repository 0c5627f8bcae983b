# The way in: an ingress controller, and by its Service one load balancer of DigitalOcean.

locals {
  releases = {
    nginx = {
      name       = "nginx-ingress"
      repository = "oci://ghcr.io/nginx/charts"
      chart      = "nginx-ingress"
      version    = "2.4.4"
      service    = "nginx-ingress-controller"
    }
    ingress-nginx = {
      name       = "ingress-nginx"
      repository = "https://kubernetes.github.io/ingress-nginx"
      chart      = "ingress-nginx"
      version    = "4.14.3"
      service    = "ingress-nginx-controller"
    }
  }
  release = local.releases[var.kind]
}

resource "helm_release" "main" {
  name       = local.release.name
  namespace  = var.namespace
  repository = local.release.repository
  chart      = local.release.chart
  version    = var.chart_version != null ? var.chart_version : local.release.version
  atomic     = true
  timeout    = 600 # a load balancer takes some minutes

  values = [
    file("${path.module}/../../../helm/prerequisites/${local.release.name}.yaml"),
    yamlencode({
      controller = {
        autoscaling = { enabled = true, minReplicas = var.replicas.min, maxReplicas = var.replicas.max }
        service = {
          annotations = {
            "service.beta.kubernetes.io/do-loadbalancer-name"      = var.load_balancer_name
            "service.beta.kubernetes.io/do-loadbalancer-size-unit" = tostring(var.load_balancer_nodes)
          }
        }
      }
    }),
  ]
}

data "kubernetes_service_v1" "main" {
  metadata {
    name      = local.release.service
    namespace = var.namespace
  }
  depends_on = [helm_release.main]
}
