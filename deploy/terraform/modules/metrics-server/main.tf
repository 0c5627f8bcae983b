# metrics-server, which autoscaling of pods asks; DigitalOcean does not bring it.

resource "helm_release" "main" {
  name       = "metrics-server"
  namespace  = "kube-system"
  repository = "https://kubernetes-sigs.github.io/metrics-server"
  chart      = "metrics-server"
  version    = var.chart_version
  values     = [file("${path.module}/../../../helm/prerequisites/metrics-server.yaml")]
  atomic     = true
  timeout    = 300
}
