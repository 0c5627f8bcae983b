output "cluster_id" {
  description = "Id of the cluster; make kubeconfig-ENVIRONMENT asks for its credentials by it."
  value       = module.cluster.id
}

output "kubernetes_version" {
  description = "Version of Kubernetes."
  value       = module.cluster.version
}

output "vpc_id" {
  description = "Id of the private network."
  value       = module.vpc.id
}
