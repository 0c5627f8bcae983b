mock_provider "helm" {}

variables {
  email = "shop@example.com"
}

run "with_lets_encrypt" {
  assert {
    condition     = helm_release.cert_manager.version == "v1.21.2" && yamldecode(helm_release.cert_manager.values[0]).crds.enabled
    error_message = "cert-manager comes without its definitions."
  }
  assert {
    condition     = yamldecode(helm_release.issuers.values[0]).letsEncrypt == { enabled = true, email = "shop@example.com", className = "nginx" }
    error_message = "The issuers are others."
  }
  assert {
    condition     = can(regex("^issuers, chart [0-9a-f]{12}$", helm_release.issuers.description))
    error_message = "A chart that changed is not seen."
  }
  assert {
    condition     = output.issuers == ["letsencrypt-staging", "letsencrypt-prod", "self-signed"]
    error_message = "An issuer is missing."
  }
}

run "without" {
  command = plan
  variables {
    lets_encrypt = false
    email        = ""
  }
  assert {
    condition     = output.issuers == ["self-signed"]
    error_message = "There is more than the issuer self-signed."
  }
}

run "issuers_without_an_address" {
  command = plan
  variables {
    email = ""
  }
  expect_failures = [var.email]
}

run "version_without_v" {
  command = plan
  variables {
    chart_version = "1.21"
  }
  expect_failures = [var.chart_version]
}
