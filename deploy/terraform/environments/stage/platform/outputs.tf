output "shop" {
  description = "Where the shop is."
  value       = module.shop.address
}

output "address" {
  description = "Address of the load balancer, which the name of the shop must lead to."
  value       = module.entry.address
}
