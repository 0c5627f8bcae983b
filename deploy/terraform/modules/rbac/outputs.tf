output "namespace" {
  description = "Namespace of the shop."
  value       = kubernetes_namespace_v1.main[local.shop].metadata[0].name
}

output "monitoring_namespace" {
  description = "Namespace of what reads metrics."
  value       = kubernetes_namespace_v1.main[local.monitoring].metadata[0].name
}

output "entry_namespace" {
  description = "Namespace of the ingress controller."
  value       = kubernetes_namespace_v1.main[local.entry].metadata[0].name
}
