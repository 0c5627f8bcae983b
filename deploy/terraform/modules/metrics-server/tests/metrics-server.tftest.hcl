mock_provider "helm" {}

run "installed" {
  assert {
    condition     = helm_release.main.namespace == "kube-system" && helm_release.main.version == "3.13.0" && yamldecode(helm_release.main.values[0]).resources.requests.memory == "64Mi"
    error_message = "metrics-server is installed otherwise."
  }
}

run "no_version" {
  command = plan
  variables {
    chart_version = "latest"
  }
  expect_failures = [var.chart_version]
}
