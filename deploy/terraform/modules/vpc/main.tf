# The private network of an environment.

data "digitalocean_regions" "all" {}

locals {
  regions = [for region in data.digitalocean_regions.all.regions : region.slug if region.available]

  # Two networks overlap where they are the same in the bits that both have.
  networks = concat([var.ip_range], var.other_networks)
  overlapping = flatten([for i, one in local.networks : [for other in slice(local.networks, i + 1, length(local.networks)) : "${one} overlaps with ${other}"
    if length(distinct([for cidr in [one, other] : cidrhost("${split("/", cidr)[0]}/${min(split("/", one)[1], split("/", other)[1])}", 0)])) == 1
  ]])
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
      error_message = "${join(" and ", local.overlapping)}. Set ip_range, the subnets of the cluster and other_networks to networks that have no address in common."
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
