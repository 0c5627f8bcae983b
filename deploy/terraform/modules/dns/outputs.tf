output "certificate_names" {
  description = "Names that a certificate is needed for."
  value       = sort(var.hosts)
}
