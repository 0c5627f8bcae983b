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
    condition     = module.vpc.ip_range == "10.10.0.0/16" && module.cluster.networks == { pods = "10.11.0.0/16", services = "10.12.0.0/19" }
    error_message = "The networks are others."
  }
  assert {
    condition     = module.cluster.version == "1.35.6-do.0" && module.cluster.name == "ecommerce-stage"
    error_message = "The cluster is another."
  }
  assert {
    condition     = module.cluster.nodes == { size = "s-2vcpu-2gb", start_nodes = 3, min_nodes = 2, max_nodes = 5 }
    error_message = "The nodes are others."
  }
  assert {
    condition     = module.cluster.control_plane == { ha = false, auto_upgrade = false, allowed_addresses = tolist([]) }
    error_message = "The control plane is highly available, or patched by itself."
  }
  assert {
    condition     = !module.vpc.protected && !module.cluster.protected
    error_message = "Stage cannot be destroyed."
  }
  assert {
    condition     = length(module.database) == 0
    error_message = "Stage has a managed database."
  }
  assert {
    condition     = length(module.monitoring.alerts) == 3
    error_message = "Something is not watched."
  }
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
