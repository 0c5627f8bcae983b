output "shop" {
  description = "Where the shop is."
  value       = "https://${var.host}"
  depends_on  = [module.shop]
}

output "address" {
  description = "Address of the load balancer, which the name of the shop must lead to."
  value       = module.entry.address
}

output "release_owner" {
  description = "Who installs the shop: terraform or helm."
  value       = var.release_owner
}

output "settings" {
  description = "What make deploy-ENVIRONMENT tells Helm of what Terraform made, as YAML."
  value       = module.settings.values
}

output "by_hand" {
  description = "Secrets that people make in the shop's namespace before the shop, and their keys."
  value       = module.settings.by_hand
}
