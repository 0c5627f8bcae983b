mock_provider "digitalocean" {
  mock_data "digitalocean_loadbalancer" {
    defaults = { urn = "do:loadbalancer:17d171d0-8a8b-4251-9c18-c96cc515d36d" }
  }
  mock_data "digitalocean_database_ca" {
    defaults = { certificate = "-----BEGIN CERTIFICATE-----\nMIIB" }
  }
}

mock_provider "helm" {}

mock_provider "kubernetes" {
  mock_data "kubernetes_service_v1" {
    defaults = {
      status = [{ load_balancer = [{ ingress = [{ ip = "203.0.113.7", hostname = "", ip_mode = "VIP" }] }] }]
    }
  }
}

variables {
  kubeconfig   = "main.tf" # any file that is there: nobody reads it
  image        = { repository = "registry.example.com/tienda", tag = "1.0" }
  host         = "shop.example.com"
  domain       = "example.com"
  acme_email   = "shop@example.com"
  alert_emails = ["ops@example.com"]
  backup       = { bucket = "https://nyc3.digitaloceanspaces.com/backups/production", region = "nyc3", secret = "backup", recipients = ["age1qqqq"] }
}

run "as_the_architecture_has_it" {
  assert {
    condition     = module.rbac.namespace == "ecommerce-production" && output.shop == "https://shop.example.com" && output.address == "203.0.113.7"
    error_message = "The shop is elsewhere."
  }
  assert {
    condition     = module.cert_manager.issuers == ["letsencrypt-staging", "letsencrypt-prod", "self-signed"] && var.issuer == "letsencrypt-prod"
    error_message = "The issuers are others."
  }
  assert {
    condition     = module.dns[0].certificate_names == tolist(["shop.example.com"])
    error_message = "The shop has no name."
  }
}

run "before_there_is_a_cluster" {
  command = plan
  variables {
    kubeconfig = "tests/nothing"
  }
  expect_failures = [var.kubeconfig]
}

run "names_that_are_somebody_elses" {
  command = plan
  variables {
    domain = ""
  }
  assert {
    condition     = length(module.dns) == 0
    error_message = "There are records although names are somebody else's."
  }
}

run "where_passwords_and_the_authority_come_from" {
  command = plan
  assert {
    condition     = length(data.digitalocean_database_user.main) == 8 && contains(keys(data.digitalocean_database_user.main), "tienda_backup")
    error_message = "An account has no password."
  }
  assert {
    condition     = data.digitalocean_database_ca.main[0].cluster_id == data.digitalocean_database_cluster.main[0].id
    error_message = "The authority is that of another server."
  }
}
