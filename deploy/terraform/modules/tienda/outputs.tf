output "chart" {
  description = "Which chart is installed."
  value       = helm_release.main.description
}
