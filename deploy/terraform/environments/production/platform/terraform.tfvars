# Production, as the architecture has it; two nodes make its load balancer redundant.
environment      = "production"
ip_range         = "10.20.0.0/16"
issuer           = "letsencrypt-prod"
managed_database = true
stripe_secret    = "stripe"

entry = {
  load_balancer_nodes = 2
}
