mock_provider "helm" {}

variables {
  environment = "stage"
  namespace   = "ecommerce-stage"
  image       = { repository = "registry.example.com/tienda", tag = "1.0" }
  settings    = "baseline: {create: false}"
}

run "stage" {
  assert {
    condition     = yamldecode(helm_release.main.values[0]).shop.profiles == ["stage"] && yamldecode(helm_release.main.values[1]) == { baseline = { create = false } }
    error_message = "The values are not those of stage, or what Terraform knows is not on top of them."
  }
  assert {
    condition     = yamldecode(helm_release.main.values[2]) == { image = { repository = "registry.example.com/tienda", tag = "1.0" } }
    error_message = "The image is another."
  }
  assert {
    condition     = can(regex("^tienda, chart [0-9a-f]{12}$", output.chart))
    error_message = "A chart that changed is not seen."
  }
}

run "production" {
  variables {
    environment = "production"
    namespace   = "ecommerce-production"
    image       = { repository = "registry.example.com/tienda", digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
  }
  assert {
    condition     = yamldecode(helm_release.main.values[0]).shop.profiles == ["production"] && !can(yamldecode(helm_release.main.values[2]).image.tag)
    error_message = "The values are not those of production, or a tag stands beside the digest."
  }
}

run "latest" {
  command = plan
  variables {
    image = { repository = "registry.example.com/tienda", tag = "latest" }
  }
  expect_failures = [var.image]
}

run "no_namespace" {
  command = plan
  variables {
    namespace = "Ecommerce_stage"
  }
  expect_failures = [var.namespace]
}
