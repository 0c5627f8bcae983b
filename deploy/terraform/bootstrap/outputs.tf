output "state_bucket" {
  description = "Name of the bucket of the states."
  value       = digitalocean_spaces_bucket.state.name
}

output "backup_address" {
  description = "Address of the bucket of the backups; each environment has a folder in it."
  value       = "https://${var.region}.digitaloceanspaces.com/${digitalocean_spaces_bucket.backup.name}"
}

output "access_keys" {
  description = "Ids of the keys. The secrets are in the state of this root and nowhere else: docs/terraform.md says how to read them."
  value       = merge({ state = digitalocean_spaces_key.state.access_key }, { for name, key in digitalocean_spaces_key.backup : "backup-${name}" => key.access_key })
}
