output "id" {
  description = "Id of the network."
  value       = digitalocean_vpc.main.id
}

output "ip_range" {
  description = "The network."
  value       = digitalocean_vpc.main.ip_range
}

output "protected" {
  description = "Whether a plan that would destroy or replace the network is refused."
  value       = length(terraform_data.protection) == 1
}
