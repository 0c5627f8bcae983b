# The private network of an environment.

data "digitalocean_regions" "all" {}

locals {
  regions = [for region in data.digitalocean_regions.all.regions : region.slug if region.available]

  # A network a.b.c.d/n as the first and the last of its addresses, both as numbers.
  ranges = { for cidr in concat([var.ip_range], var.other_networks) : cidr => {
    first = sum([for i, part in split(".", cidrhost(cidr, 0)) : tonumber(part) * pow(256, 3 - i)])
    last  = sum([for i, part in split(".", cidrhost(cidr, -1)) : tonumber(part) * pow(256, 3 - i)])
  } }
  overlapping = [for cidr in var.other_networks : cidr
    if local.ranges[cidr].first <= local.ranges[var.ip_range].last && local.ranges[var.ip_range].first <= local.ranges[cidr].last
  ]
}

resource "digitalocean_vpc" "main" {
  name        = var.name
  region      = var.region
  ip_range    = var.ip_range
  description = "Private network of ${var.name}"

  lifecycle {
    precondition {
      condition     = contains(local.regions, var.region)
      error_message = "There is no region ${var.region}, or it takes nothing new. Set region to one of ${join(", ", local.regions)}."
    }
    precondition {
      condition     = length(local.overlapping) == 0
      error_message = "The network ${var.ip_range} overlaps with ${join(" and ", local.overlapping)}. Set ip_range, or the subnets of the cluster, to networks that have no address in common."
    }
  }
}

# Refuses a plan that would destroy or replace the network: to lift it, remove this resource from the state.
resource "terraform_data" "protection" {
  count = var.deletion_protection ? 1 : 0
  input = digitalocean_vpc.main.id

  lifecycle {
    prevent_destroy      = true
    replace_triggered_by = [digitalocean_vpc.main.id]
  }
}
