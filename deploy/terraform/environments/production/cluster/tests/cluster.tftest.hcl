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
    condition     = module.vpc.ip_range == "10.20.0.0/16" && module.cluster.networks == { pods = "10.21.0.0/16", services = "10.22.0.0/19" }
    error_message = "The networks are others."
  }
  assert {
    condition     = module.cluster.version == "1.35.6-do.0" && module.cluster.name == "ecommerce-production"
    error_message = "The cluster is another."
  }
  assert {
    condition     = module.cluster.nodes == { size = "s-4vcpu-8gb", start_nodes = 3, min_nodes = 3, max_nodes = 10 }
    error_message = "The nodes are others."
  }
  assert {
    condition     = module.cluster.control_plane == { ha = true, auto_upgrade = true, allowed_addresses = tolist([]) }
    error_message = "The control plane is not highly available, or not patched by itself."
  }
  assert {
    condition     = module.vpc.protected && module.cluster.protected && module.database[0].protected
    error_message = "Production can be destroyed."
  }
  assert {
    condition     = module.database[0].servers == { size = "db-s-1vcpu-2gb", count = 2 } && module.database[0].name == "ecommerce-production"
    error_message = "Production has no managed database with a standby."
  }
  assert {
    condition     = length(module.monitoring.alerts) == 6
    error_message = "Something is not watched."
  }
}

run "without_protection" {
  command = plan
  variables {
    deletion_protection = false
  }
  expect_failures = [var.deletion_protection]
}

run "an_api_for_some" {
  command = plan
  variables {
    api_allowed_addresses = ["203.0.113.7"]
  }
  assert {
    condition     = module.cluster.control_plane.allowed_addresses == tolist(["203.0.113.7"])
    error_message = "Others reach the API."
  }
}
