# What DigitalOcean is asked for: the network, the cluster, the managed database if there is one, and who is told when they are short of
# something. The same file for every environment; what differs are the values in terraform.tfvars.

locals {
  name = "ecommerce-${var.environment}"
}

module "vpc" {
  source = "../../../modules/vpc"

  name                = local.name
  region              = var.region
  ip_range            = var.ip_range
  other_networks      = concat([var.cluster_subnet, var.service_subnet], var.other_networks)
  deletion_protection = var.deletion_protection
}

module "cluster" {
  source = "../../../modules/doks-cluster"

  name                  = local.name
  region                = var.region
  vpc_id                = module.vpc.id
  kubernetes_minor      = var.kubernetes_minor
  kubernetes_version    = var.kubernetes_version
  running_version       = var.running_version
  ha                    = var.ha
  cluster_subnet        = var.cluster_subnet
  service_subnet        = var.service_subnet
  api_allowed_addresses = var.api_allowed_addresses
  pool                  = var.pool
  auto_upgrade          = var.auto_upgrade
  autoscaler            = var.autoscaler
  registry_integration  = var.registry_integration
  tags                  = [local.name]
  deletion_protection   = var.deletion_protection
}

module "database" {
  source = "../../../modules/database"
  count  = var.database == null ? 0 : 1

  name                = local.name
  region              = var.region
  vpc_id              = module.vpc.id
  cluster_id          = module.cluster.id
  size                = var.database.size
  standbys            = var.database.standbys
  tags                = [local.name]
  deletion_protection = var.deletion_protection
}

module "monitoring" {
  source = "../../../modules/monitoring"

  name             = local.name
  emails           = var.alert_emails
  node_tag         = local.name
  database_watched = var.database != null
  database_id      = one(module.database[*].id)
}
