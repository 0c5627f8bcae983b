mock_provider "digitalocean" {
  mock_data "digitalocean_regions" {
    defaults = {
      regions = [{ slug = "nyc1", name = "New York 1", available = true, features = [], sizes = ["s-2vcpu-2gb", "s-4vcpu-8gb"] }]
    }
  }
  mock_data "digitalocean_kubernetes_versions" {
    defaults = { valid_versions = ["1.35.6-do.0"], latest_version = "1.35.6-do.0" }
  }
}

variables {
  alert_emails = ["ops@example.com"]
}

run "as_the_architecture_has_it" {
  command = plan
  assert {
    condition     = module.vpc.ip_range == "10.20.0.0/16"
    error_message = "The network is another."
  }
  assert {
    condition     = module.cluster.version == "1.35.6-do.0" && module.cluster.name == "ecommerce-production"
    error_message = "The cluster is another."
  }
  assert {
    condition     = var.pool == { size = "s-4vcpu-8gb", start_nodes = 3, min_nodes = 3, max_nodes = 10 } && var.ha && var.auto_upgrade && var.deletion_protection
    error_message = "The nodes are others, or production is not highly available, upgraded and protected."
  }
  assert {
    condition     = length(module.database) == 1 && var.database == { size = "db-s-1vcpu-2gb", standbys = 1 }
    error_message = "Production has no managed database with a standby."
  }
}

run "without_protection" {
  command = plan
  variables {
    deletion_protection = false
  }
  expect_failures = [var.deletion_protection]
}
