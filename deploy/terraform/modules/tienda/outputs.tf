output "address" {
  description = "Where the shop is."
  value       = "https://${var.entry.host}"
  depends_on  = [helm_release.main]
}
