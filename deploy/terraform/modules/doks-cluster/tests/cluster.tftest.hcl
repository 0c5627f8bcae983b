mock_provider "digitalocean" {
  mock_data "digitalocean_regions" {
    defaults = {
      regions = [{ slug = "nyc1", name = "New York 1", available = true, features = [], sizes = ["s-2vcpu-2gb", "s-4vcpu-8gb"] }]
    }
  }
  override_data {
    target = data.digitalocean_kubernetes_versions.offered
    values = { valid_versions = ["1.36.1-do.0", "1.35.6-do.0", "1.34.9-do.1"], latest_version = "1.36.1-do.0" }
  }
  override_data {
    target = data.digitalocean_kubernetes_versions.minor
    values = { valid_versions = ["1.35.6-do.0"], latest_version = "1.35.6-do.0" }
  }
}

variables {
  name                = "ecommerce-stage"
  region              = "nyc1"
  vpc_id              = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
  kubernetes_minor    = "1.35"
  ha                  = false
  cluster_subnet      = "10.244.0.0/16"
  service_subnet      = "10.245.0.0/16"
  pool                = { size = "s-2vcpu-2gb", start_nodes = 3, min_nodes = 2, max_nodes = 5 }
  auto_upgrade        = false
  tags                = ["ecommerce-stage"]
  deletion_protection = false
}

run "stage" {
  assert {
    condition     = digitalocean_kubernetes_cluster.main.version == "1.35.6-do.0"
    error_message = "The version is not the newest of the minor version."
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.ha == false && digitalocean_kubernetes_cluster.main.auto_upgrade == false && digitalocean_kubernetes_cluster.main.surge_upgrade
    error_message = "ha, auto_upgrade or surge_upgrade is not what was asked for."
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.node_pool[0].auto_scale && digitalocean_kubernetes_cluster.main.node_pool[0].min_nodes == 2 && digitalocean_kubernetes_cluster.main.node_pool[0].max_nodes == 5 && digitalocean_kubernetes_cluster.main.node_pool[0].node_count == 3
    error_message = "The pool does not begin with 3 of 2 to 5 nodes."
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.cluster_subnet == "10.244.0.0/16" && digitalocean_kubernetes_cluster.main.service_subnet == "10.245.0.0/16"
    error_message = "The cluster is not one of the VPC."
  }
  assert {
    condition     = contains(digitalocean_kubernetes_cluster.main.node_pool[0].tags, "ecommerce-stage") && contains(digitalocean_kubernetes_cluster.main.tags, "ecommerce-stage")
    error_message = "Cluster or nodes have no tag."
  }
}

run "nothing_is_said_of_the_api" {
  command = plan
  assert {
    condition     = length(digitalocean_kubernetes_cluster.main.control_plane_firewall) == 0
    error_message = "Something is said of who reaches the API."
  }
}

run "an_api_for_some" {
  command = plan
  variables {
    api_allowed_addresses = ["203.0.113.7", "198.51.100.0/24"]
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.control_plane_firewall == tolist([{ enabled = true, allowed_addresses = tolist(["203.0.113.7", "198.51.100.0/24"]) }])
    error_message = "Others reach the API."
  }
}

run "an_api_for_everybody_again" {
  command = plan
  variables {
    api_allowed_addresses = []
  }
  assert {
    condition     = length(digitalocean_kubernetes_cluster.main.control_plane_firewall) == 1 && !digitalocean_kubernetes_cluster.main.control_plane_firewall[0].enabled && length(digitalocean_kubernetes_cluster.main.control_plane_firewall[0].allowed_addresses) == 0
    error_message = "What limits the API is not lifted."
  }
}

run "an_api_for_the_whole_world" {
  command = plan
  variables {
    api_allowed_addresses = ["203.0.113.7", "0.0.0.0/0"]
  }
  expect_failures = [var.api_allowed_addresses]
}

run "an_api_for_a_name" {
  command = plan
  variables {
    api_allowed_addresses = ["office.example.com"]
  }
  expect_failures = [var.api_allowed_addresses]
}

run "the_autoscaler_counts_nodes" {
  variables {
    pool = { size = "s-2vcpu-2gb", start_nodes = 5, min_nodes = 2, max_nodes = 5 }
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.node_pool[0].node_count == 3
    error_message = "A later apply changes the number of nodes."
  }
}

run "production" {
  command = plan
  variables {
    name                = "ecommerce-production"
    ha                  = true
    auto_upgrade        = true
    pool                = { size = "s-4vcpu-8gb", start_nodes = 3, min_nodes = 3, max_nodes = 10 }
    deletion_protection = true
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.ha && digitalocean_kubernetes_cluster.main.auto_upgrade && length(terraform_data.protection) == 1
    error_message = "Production is not highly available, upgraded and protected."
  }
}

run "exact_version" {
  command = plan
  variables {
    kubernetes_version = "1.34.9-do.1"
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.version == "1.34.9-do.1"
    error_message = "An exact version is not taken."
  }
}

run "the_version_of_the_architecture_where_it_is_on_offer" {
  command = plan
  variables {
    kubernetes_version = "1.31.1-do.4"
  }
  override_data {
    target = data.digitalocean_kubernetes_versions.offered
    values = { valid_versions = ["1.31.1-do.4"], latest_version = "1.31.1-do.4" }
  }
  assert {
    condition     = digitalocean_kubernetes_cluster.main.version == "1.31.1-do.4"
    error_message = "The architecture's version is not taken."
  }
}

run "the_version_of_the_architecture_today" {
  command = plan
  variables {
    kubernetes_version = "1.31.1-do.4"
  }
  expect_failures = [digitalocean_kubernetes_cluster.main]
}

run "minor_that_is_not_offered" {
  command = plan
  variables {
    kubernetes_minor = "1.29"
  }
  override_data {
    target = data.digitalocean_kubernetes_versions.minor
    values = { valid_versions = [], latest_version = "" }
  }
  expect_failures = [digitalocean_kubernetes_cluster.main]
}

run "no_minor" {
  command = plan
  variables {
    kubernetes_minor = "1.35.6-do.0"
  }
  expect_failures = [var.kubernetes_minor]
}

run "ha_that_is_not_said" {
  command = plan
  variables {
    ha = null
  }
  expect_failures = [var.ha]
}

run "size_that_the_region_does_not_have" {
  command = plan
  variables {
    pool = { size = "s-1vcpu-1gb", start_nodes = 3, min_nodes = 2, max_nodes = 5 }
  }
  expect_failures = [digitalocean_kubernetes_cluster.main]
}

run "min_over_max" {
  command = plan
  variables {
    pool = { size = "s-2vcpu-2gb", start_nodes = 5, min_nodes = 6, max_nodes = 5 }
  }
  expect_failures = [var.pool]
}

run "start_outside" {
  command = plan
  variables {
    pool = { size = "s-2vcpu-2gb", start_nodes = 1, min_nodes = 2, max_nodes = 5 }
  }
  expect_failures = [var.pool]
}

run "services_among_pods" {
  command = plan
  variables {
    service_subnet = "10.244.32.0/19"
  }
  expect_failures = [var.service_subnet]
}

run "pods_among_services" {
  command = plan
  variables {
    cluster_subnet = "10.245.128.0/20"
  }
  expect_failures = [var.service_subnet]
}

run "services_beside_pods" {
  command = plan
  variables {
    cluster_subnet = "10.244.0.0/17"
    service_subnet = "10.244.128.0/19"
  }
}

run "pods_at_an_address_in_a_network" {
  command = plan
  variables {
    cluster_subnet = "10.244.5.0/16"
  }
  expect_failures = [var.cluster_subnet]
}

run "services_at_an_address_in_a_network" {
  command = plan
  variables {
    service_subnet = "10.245.5.0/16"
  }
  expect_failures = [var.service_subnet]
}

run "maintenance_at_no_hour" {
  command = plan
  variables {
    maintenance = { day = "Tuesday", start_time = "4" }
  }
  expect_failures = [var.maintenance]
}

run "unknown_expander" {
  command = plan
  variables {
    autoscaler = { expanders = ["cheapest"] }
  }
  expect_failures = [var.autoscaler]
}
