# Production, as the architecture has it, with a managed MySQL.
environment         = "production"
region              = "nyc1"
ip_range            = "10.20.0.0/16"
cluster_subnet      = "10.21.0.0/16"
service_subnet      = "10.22.0.0/19"
ha                  = true
auto_upgrade        = true
deletion_protection = true

pool = {
  size        = "s-4vcpu-8gb"
  start_nodes = 3
  min_nodes   = 3
  max_nodes   = 10
}

database = {
  size     = "db-s-1vcpu-2gb"
  standbys = 1
}
