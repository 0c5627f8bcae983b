# DigitalOcean's managed MySQL: servers with a private address, a schema and an account for each component that stores something. Rights of
# the accounts are given by the chart's job, which keeps each to its schema.

locals {
  schemas = toset([for name in var.components : "${var.prefix}_${replace(trimsuffix(name, "-service"), "-", "_")}"])
  # Backups are taken by an account without a schema of its own.
  accounts = setunion(local.schemas, ["${var.prefix}_backup"])
}

resource "digitalocean_database_cluster" "main" {
  name                 = var.name
  engine               = "mysql"
  version              = "8"
  size                 = var.size
  region               = var.region
  node_count           = 1 + var.standbys
  private_network_uuid = var.vpc_id
  tags                 = var.tags

  maintenance_window {
    day  = var.maintenance.day
    hour = var.maintenance.hour
  }
}

resource "digitalocean_database_firewall" "main" {
  cluster_id = digitalocean_database_cluster.main.id

  rule {
    type  = "k8s"
    value = var.cluster_id
  }
}

resource "digitalocean_database_db" "main" {
  for_each = local.schemas

  cluster_id = digitalocean_database_cluster.main.id
  name       = each.key
}

resource "digitalocean_database_user" "main" {
  for_each = local.accounts

  cluster_id        = digitalocean_database_cluster.main.id
  name              = each.key
  mysql_auth_plugin = "caching_sha2_password"
}

# Refuses a plan that would destroy or replace the database: to lift it, remove this resource from the state.
resource "terraform_data" "protection" {
  count = var.deletion_protection ? 1 : 0
  input = digitalocean_database_cluster.main.id

  lifecycle {
    prevent_destroy      = true
    replace_triggered_by = [digitalocean_database_cluster.main.id]
  }
}
