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

output "protected" {
  description = "Whether a plan that would destroy or replace the cluster is refused."
  value       = length(terraform_data.protection) == 1
}

output "control_plane" {
  description = "Whether the control plane is highly available, takes patches by itself, and from where alone its API is reached."
  value = {
    ha                = digitalocean_kubernetes_cluster.main.ha
    auto_upgrade      = digitalocean_kubernetes_cluster.main.auto_upgrade
    allowed_addresses = tolist(flatten(digitalocean_kubernetes_cluster.main.control_plane_firewall[*].allowed_addresses))
  }
}

output "nodes" {
  description = "The nodes: their size, how many at the start, and between how many the autoscaler chooses."
  value = {
    size        = digitalocean_kubernetes_cluster.main.node_pool[0].size
    start_nodes = digitalocean_kubernetes_cluster.main.node_pool[0].node_count
    min_nodes   = digitalocean_kubernetes_cluster.main.node_pool[0].min_nodes
    max_nodes   = digitalocean_kubernetes_cluster.main.node_pool[0].max_nodes
  }
}

output "networks" {
  description = "Networks of the pods and of the Services."
  value = {
    pods     = digitalocean_kubernetes_cluster.main.cluster_subnet
    services = digitalocean_kubernetes_cluster.main.service_subnet
  }
}
