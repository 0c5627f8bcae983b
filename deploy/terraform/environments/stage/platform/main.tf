# What is in the cluster: namespaces and rights, certificates, the way in, the shop. The same file for every environment; what
# differs are the values in terraform.tfvars.

locals {
  name     = "ecommerce-${var.environment}"
  accounts = var.managed_database ? toset([for name in ["backup", "favourite", "order", "payment", "product", "shipping", "user", "zipkin"] : "tienda_${name}"]) : toset([])
}

module "rbac" {
  source = "../../../modules/rbac"

  environment         = var.environment
  network_policy_mode = var.network_policy_mode
  secret_access       = var.secret_access
}

module "metrics_server" {
  source = "../../../modules/metrics-server"
}

module "entry" {
  source = "../../../modules/ingress-nginx"

  kind                = var.entry.kind
  accept_retired      = var.entry.accept_retired
  namespace           = module.rbac.entry_namespace
  load_balancer_name  = local.name
  load_balancer_nodes = var.entry.load_balancer_nodes
}

module "cert_manager" {
  source = "../../../modules/cert-manager"

  lets_encrypt = var.issuer != "self-signed"
  email        = var.acme_email
}

module "dns" {
  source = "../../../modules/dns"
  count  = var.domain == "" ? 0 : 1

  domain  = var.domain
  hosts   = [var.host]
  address = module.entry.address
}

# The load balancer is made by DigitalOcean for the controller's Service, and so found by its name.
data "digitalocean_loadbalancer" "entry" {
  name       = local.name
  depends_on = [module.entry]
}

module "monitoring" {
  source = "../../../modules/monitoring"

  name                  = local.name
  emails                = var.alert_emails
  load_balancer_watched = true

  # Not its id: the provider says of that one only what it was asked for, which is nothing while it is not there yet.
  load_balancer_id = split(":", data.digitalocean_loadbalancer.entry.urn)[2]
}

data "digitalocean_database_cluster" "main" {
  count = var.managed_database ? 1 : 0
  name  = local.name
}

# Who signs the certificate that the server shows.
data "digitalocean_database_ca" "main" {
  count = var.managed_database ? 1 : 0

  cluster_id = data.digitalocean_database_cluster.main[0].id
}

data "digitalocean_database_user" "main" {
  for_each = local.accounts

  cluster_id = data.digitalocean_database_cluster.main[0].id
  name       = each.key
}

# What the shop is told, whoever owns its release.
module "settings" {
  source = "../../../modules/settings"

  environment          = var.environment
  namespace            = module.rbac.namespace
  monitoring_namespace = module.rbac.monitoring_namespace
  network_policy_mode  = var.network_policy_mode
  storage_gib          = var.storage_gib
  backup               = var.backup
  stripe_secret        = var.stripe_secret

  entry = {
    kind      = module.entry.kind
    namespace = module.rbac.entry_namespace
    host      = var.host
    issuer    = var.issuer
  }

  database = !var.managed_database ? null : {
    host      = data.digitalocean_database_cluster.main[0].private_host
    port      = data.digitalocean_database_cluster.main[0].port
    cidrs     = [var.ip_range]
    authority = data.digitalocean_database_ca.main[0].certificate
  }
  passwords = !var.managed_database ? {} : merge(
    { "root-password" = data.digitalocean_database_cluster.main[0].password },
    { for name, user in data.digitalocean_database_user.main : name => user.password },
  )
}

# With release_owner "helm" make deploy-ENVIRONMENT installs it.
module "shop" {
  source = "../../../modules/tienda"
  count  = var.release_owner == "terraform" ? 1 : 0

  environment = var.environment
  namespace   = module.rbac.namespace
  image       = var.image
  settings    = module.settings.values

  depends_on = [module.cert_manager, module.metrics_server]
}
