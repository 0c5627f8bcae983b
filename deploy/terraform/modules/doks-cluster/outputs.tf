output "id" {
  description = "Id of the cluster."
  value       = digitalocean_kubernetes_cluster.main.id
}

output "name" {
  description = "Name of the cluster, by which its credentials are asked for."
  value       = digitalocean_kubernetes_cluster.main.name
}

output "version" {
  description = "Version of Kubernetes."
  value       = digitalocean_kubernetes_cluster.main.version
}
