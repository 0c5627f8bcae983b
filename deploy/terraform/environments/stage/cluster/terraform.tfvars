# Stage, as the architecture has it.
environment         = "stage"
region              = "nyc1"
ip_range            = "10.10.0.0/16"
cluster_subnet      = "10.11.0.0/16"
service_subnet      = "10.12.0.0/19"
ha                  = false
auto_upgrade        = false
deletion_protection = false

pool = {
  size        = "s-2vcpu-2gb"
  start_nodes = 3
  min_nodes   = 2
  max_nodes   = 5
}
