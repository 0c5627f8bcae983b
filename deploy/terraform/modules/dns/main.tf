# Names of an environment in a domain that DigitalOcean serves. The domain itself belongs to bootstrap, since environments share it.

resource "digitalocean_record" "main" {
  for_each = toset(var.hosts)

  domain = var.domain
  type   = "A"
  name   = each.key == var.domain ? "@" : trimsuffix(each.key, ".${var.domain}")
  value  = var.address
  ttl    = var.ttl
}
