output "issuers" {
  description = "Names of the ClusterIssuers, once they are there."
  value       = concat(var.lets_encrypt ? ["letsencrypt-staging", "letsencrypt-prod"] : [], ["self-signed"])
  depends_on  = [helm_release.issuers]
}
