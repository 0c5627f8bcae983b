# A cluster of DigitalOcean Kubernetes and its pool of nodes.

data "digitalocean_kubernetes_versions" "offered" {}

data "digitalocean_kubernetes_versions" "minor" {
  version_prefix = "${var.kubernetes_minor}."
}

data "digitalocean_regions" "all" {}

locals {
  offered = data.digitalocean_kubernetes_versions.offered.valid_versions
  minors  = distinct([for version in local.offered : join(".", slice(split(".", version), 0, 2))])
  newest  = data.digitalocean_kubernetes_versions.minor.latest_version
  version = var.kubernetes_version != null ? var.kubernetes_version : local.ahead ? var.running_version : local.newest

  # Patch and build of the newest on offer and of what runs. DigitalOcean withdraws patches, and to go back is to make the cluster anew.
  patches = [for version in [local.newest, var.running_version] : try(tonumber(join("", [for number in regex("^1\\.[0-9]+\\.([0-9]+)-do\\.([0-9]+)$", version) : format("%04d", number)])), 0)]
  ahead   = startswith(coalesce(var.running_version, "-"), "${var.kubernetes_minor}.") && local.patches[1] > local.patches[0]
  sizes   = flatten([for region in data.digitalocean_regions.all.regions : region.sizes if region.slug == var.region])
}

resource "digitalocean_kubernetes_cluster" "main" {
  name     = var.name
  region   = var.region
  version  = local.version
  vpc_uuid = var.vpc_id

  # Set always: from Kubernetes 1.36 on what is not set is on, costs money, and cannot be turned off again.
  ha = var.ha

  # With both the cluster is one of the VPC: pods have addresses of their own in it.
  cluster_subnet = var.cluster_subnet
  service_subnet = var.service_subnet

  auto_upgrade         = var.auto_upgrade
  surge_upgrade        = true
  registry_integration = var.registry_integration

  # What the state holds of credentials is worth nothing after this time.
  kubeconfig_expire_seconds = 3600

  # What Kubernetes made, such as load balancers and volumes, stays when the cluster goes: volumes are data.
  destroy_all_associated_resources = false

  tags = var.tags

  maintenance_policy {
    day        = var.maintenance.day
    start_time = var.maintenance.start_time
  }

  cluster_autoscaler_configuration {
    expanders                        = var.autoscaler.expanders
    scale_down_utilization_threshold = var.autoscaler.scale_down_utilization_threshold
    scale_down_unneeded_time         = var.autoscaler.scale_down_unneeded_time
  }

  # The provider keeps what there is of what is not said: null leaves it alone, and only an empty list lifts it.
  dynamic "control_plane_firewall" {
    for_each = var.api_allowed_addresses == null ? [] : [var.api_allowed_addresses]

    content {
      enabled           = length(control_plane_firewall.value) > 0
      allowed_addresses = control_plane_firewall.value
    }
  }

  node_pool {
    name       = "workers"
    size       = var.pool.size
    auto_scale = true
    min_nodes  = var.pool.min_nodes
    max_nodes  = var.pool.max_nodes
    node_count = var.pool.start_nodes
    tags       = var.tags
    labels     = { pool = "workers" }
  }

  lifecycle {
    # How many nodes there are is the autoscaler's business after the start.
    ignore_changes = [node_pool[0].node_count]

    precondition {
      condition     = var.kubernetes_version == null || try(contains(local.offered, var.kubernetes_version), false)
      error_message = "DigitalOcean does not offer Kubernetes ${coalesce(var.kubernetes_version, "-")} any more, or not yet. Set kubernetes_version to one of ${join(", ", local.offered)}, or to null for the newest of kubernetes_minor."
    }
    precondition {
      condition     = var.kubernetes_version != null || length(data.digitalocean_kubernetes_versions.minor.valid_versions) > 0
      error_message = "DigitalOcean offers no Kubernetes ${var.kubernetes_minor}. Set kubernetes_minor to one of ${join(", ", local.minors)}."
    }
    precondition {
      condition     = contains(local.sizes, var.pool.size)
      error_message = "The region ${var.region} has no nodes of the size ${var.pool.size}. Set pool.size to another one, or region: doctl kubernetes options sizes lists them."
    }
  }
}

# Refuses a plan that would destroy or replace the cluster, whose volumes hold data: to lift it, remove this resource from the state.
resource "terraform_data" "protection" {
  count = var.deletion_protection ? 1 : 0
  input = digitalocean_kubernetes_cluster.main.id

  lifecycle {
    prevent_destroy      = true
    replace_triggered_by = [digitalocean_kubernetes_cluster.main.id]
  }
}
