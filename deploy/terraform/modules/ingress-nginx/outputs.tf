output "address" {
  description = "Address of the load balancer."
  value       = data.kubernetes_service_v1.main.status[0].load_balancer[0].ingress[0].ip
}

output "kind" {
  description = "The chart's entry.kind."
  value       = var.kind
}
