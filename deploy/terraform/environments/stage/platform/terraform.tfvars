# Stage, as the architecture has it.
environment      = "stage"
ip_range         = "10.10.0.0/16"
issuer           = "letsencrypt-staging"
managed_database = false

entry = {
  load_balancer_nodes = 1
}
