output "alerts" {
  description = "Names of the alerts."
  value       = sort(keys(digitalocean_monitor_alert.main))
}
