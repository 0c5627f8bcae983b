variable "chart_version" {
  description = "Version of metrics-server's chart."
  type        = string
  default     = "3.13.0"

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.chart_version))
    error_message = "Give chart_version a version such as 3.13.0."
  }
}
