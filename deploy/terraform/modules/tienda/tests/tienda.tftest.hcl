mock_provider "helm" {}
mock_provider "kubernetes" {}

variables {
  environment          = "stage"
  namespace            = "ecommerce-stage"
  monitoring_namespace = "monitoring"
  image                = { repository = "registry.example.com/tienda", tag = "1.0" }
  entry                = { kind = "nginx", namespace = "ingress-nginx", host = "stage.shop.example.com", issuer = "letsencrypt-staging" }
  backup               = null
}

run "stage" {
  assert {
    condition     = yamldecode(helm_release.main.values[0]).shop.profiles == ["stage"] && yamldecode(helm_release.main.values[1]).baseline.create == false
    error_message = "The values are not those of stage, or two own the namespaces."
  }
  assert {
    condition     = yamldecode(helm_release.main.values[1]).database == { existingSecret = "", mode = "mysql", mysql = { storage = { size = "10Gi" } } } && length(kubernetes_secret_v1.database) == 0
    error_message = "MySQL does not run in the cluster."
  }
  assert {
    condition     = can(regex("^tienda, chart [0-9a-f]{12}$", helm_release.main.description))
    error_message = "A chart that changed is not seen."
  }
}

run "production" {
  variables {
    environment = "production"
    namespace   = "ecommerce-production"
    image       = { repository = "registry.example.com/tienda", digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
    database    = { host = "private-db.example.com", port = 25060, cidrs = ["10.20.0.0/16"] }
    passwords   = { "root-password" = "r", tienda_order = "o" }
    backup      = { bucket = "https://nyc3.digitaloceanspaces.com/backups/production", region = "nyc3", secret = "backup", recipients = ["age1qqqq"] }
  }
  assert {
    condition     = yamldecode(helm_release.main.values[1]).database.external.host == "private-db.example.com" && yamldecode(helm_release.main.values[1]).database.mode == "external"
    error_message = "The managed database is not used."
  }
  assert {
    condition     = kubernetes_secret_v1.database[0].data["tienda_order"] == "o"
    error_message = "An account has no password."
  }
  assert {
    condition     = yamldecode(helm_release.main.values[1]).backup.shipping.enabled == false && yamldecode(helm_release.main.values[1]).backup.recipients == ["age1qqqq"]
    error_message = "Backups are taken otherwise."
  }
  assert {
    condition     = !can(yamldecode(helm_release.main.values[1]).image.tag)
    error_message = "A tag stands beside the digest."
  }
}

run "production_without_backup" {
  command = plan
  variables {
    environment = "production"
  }
  expect_failures = [var.backup]
}

run "backup_that_nobody_can_open" {
  command = plan
  variables {
    backup = { bucket = "https://nyc3.digitaloceanspaces.com/backups/stage", region = "nyc3", secret = "backup", recipients = [] }
  }
  expect_failures = [var.backup]
}

run "latest" {
  command = plan
  variables {
    image = { repository = "registry.example.com/tienda", tag = "latest" }
  }
  expect_failures = [var.image]
}

run "no_passwords" {
  command = plan
  variables {
    database = { host = "private-db.example.com", port = 25060, cidrs = ["10.20.0.0/16"] }
  }
  expect_failures = [var.passwords]
}

run "no_storage" {
  command = plan
  variables {
    storage_gib = 0
  }
  expect_failures = [var.storage_gib]
}
