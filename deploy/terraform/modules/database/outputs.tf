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
