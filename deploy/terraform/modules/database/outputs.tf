output "id" {
  description = "Id of the database."
  value       = digitalocean_database_cluster.main.id
}

output "name" {
  description = "Name of the database, by which its passwords are asked for."
  value       = digitalocean_database_cluster.main.name
}

output "accounts" {
  description = "Names of the accounts."
  value       = sort(local.accounts)
  depends_on  = [digitalocean_database_user.main]
}

output "protected" {
  description = "Whether a plan that would destroy or replace the database is refused."
  value       = length(terraform_data.protection) == 1
}

output "servers" {
  description = "The servers: their size, and how many with the standbys."
  value = {
    size  = digitalocean_database_cluster.main.size
    count = digitalocean_database_cluster.main.node_count
  }
}
