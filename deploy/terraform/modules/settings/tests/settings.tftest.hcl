mock_provider "kubernetes" {}

variables {
  environment          = "stage"
  namespace            = "ecommerce-stage"
  monitoring_namespace = "monitoring"
  entry                = { kind = "nginx", namespace = "ingress-nginx", host = "stage.shop.example.com", issuer = "letsencrypt-staging" }
  backup               = null
}

run "stage" {
  assert {
    condition     = yamldecode(output.values).baseline.create == false
    error_message = "Two own the namespaces."
  }
  assert {
    condition     = yamldecode(output.values).database == { existingSecret = "", mode = "mysql", mysql = { storage = { size = "10Gi" } } } && length(kubernetes_secret_v1.database) == 0 && length(kubernetes_secret_v1.database_ca) == 0 && !can(yamldecode(output.values).defaults)
    error_message = "MySQL does not run in the cluster."
  }
  assert {
    condition     = output.by_hand == {}
    error_message = "People are to make Secrets that nobody reads."
  }
}

run "production" {
  variables {
    environment   = "production"
    namespace     = "ecommerce-production"
    database      = { host = "private-db.example.com", port = 25060, cidrs = ["10.20.0.0/16"], authority = "-----BEGIN CERTIFICATE-----\nMIIB" }
    passwords     = { "root-password" = "a-password", tienda_order = "another" }
    backup        = { bucket = "https://nyc3.digitaloceanspaces.com/backups/production", region = "nyc3", secret = "backup", recipients = ["age1qqqq"], paused = true, restore_test = "restore-test" }
    stripe_secret = "stripe"
  }
  assert {
    condition     = yamldecode(output.values).database.external.host == "private-db.example.com" && yamldecode(output.values).database.mode == "external"
    error_message = "The managed database is not used."
  }
  assert {
    condition     = kubernetes_secret_v1.database_ca[0].data == tomap({ "ca.crt" = var.database.authority }) && yamldecode(output.values).database.external.caSecret == kubernetes_secret_v1.database_ca[0].metadata[0].name && yamldecode(output.values).database.external.sslMode == "VERIFY_CA"
    error_message = "The server's certificate is not checked with its authority."
  }
  assert {
    condition     = yamldecode(output.values).defaults.podAnnotations == { "checksum/database-ca" = sha256(var.database.authority) }
    error_message = "Another authority makes no pods anew."
  }
  assert {
    condition     = kubernetes_secret_v1.database[0].data["tienda_order"] == "another" && !strcontains(output.values, "another") && !strcontains(output.values, "a-password")
    error_message = "An account has no password, or one is among the values."
  }
  assert {
    condition     = yamldecode(output.values).backup.shipping.enabled == false && yamldecode(output.values).backup.recipients == ["age1qqqq"] && yamldecode(output.values).backup.paused && yamldecode(output.values).backup.restoreTest.identitySecret == "restore-test"
    error_message = "Backups are taken otherwise."
  }
  assert {
    condition     = jsonencode(output.by_hand) == jsonencode({ backup = ["access-key", "secret-key"], restore-test = ["identity"], stripe = ["secret-key", "webhook-secret"] })
    error_message = "People are not told which Secrets to make."
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

run "no_passwords" {
  command = plan
  variables {
    database = { host = "private-db.example.com", port = 25060, cidrs = ["10.20.0.0/16"], authority = "-----BEGIN CERTIFICATE-----\nMIIB" }
  }
  expect_failures = [var.passwords]
}

run "no_authority" {
  command = plan
  variables {
    database  = { host = "private-db.example.com", port = 25060, cidrs = ["10.20.0.0/16"], authority = "" }
    passwords = { "root-password" = "a-password" }
  }
  expect_failures = [var.database]
}

run "no_storage" {
  command = plan
  variables {
    storage_gib = 0
  }
  expect_failures = [var.storage_gib]
}

run "no_namespace" {
  command = plan
  variables {
    namespace = "Ecommerce_stage"
  }
  expect_failures = [var.namespace]
}
