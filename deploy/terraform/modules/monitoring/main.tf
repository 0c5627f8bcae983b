# Alerts of DigitalOcean. There are none about a cluster as such, so its nodes are watched, which it tags by its id, and so those
# that the autoscaler adds; about pods Prometheus knows more.

locals {
  # Each is about tags or about entities, and says nothing of the others: an empty list of entities is refused by the provider.
  alerts = merge(
    {
      for name, alert in {
        node-cpu    = { type = "v1/insights/droplet/cpu", value = var.thresholds.cpu, what = "Processor time of a node" }
        node-memory = { type = "v1/insights/droplet/memory_utilization_percent", value = var.thresholds.memory, what = "Memory of a node" }
        node-disk   = { type = "v1/insights/droplet/disk_utilization_percent", value = var.thresholds.disk, what = "Disk of a node" }
      } : name => merge(alert, { compare = "GreaterThan", tags = [var.node_tag], entities = null }) if var.node_tag != null
    },
    {
      for name, alert in {
        entry-connections = { type = "v1/insights/lbaas/connection_utilization_percent", compare = "GreaterThan", value = 80, what = "Connections of the load balancer" }
        entry-nodes       = { type = "v1/insights/lbaas/droplet_health", compare = "LessThan", value = 100, what = "Nodes that the load balancer reaches" }
      } : name => merge(alert, { tags = null, entities = [var.load_balancer_id] }) if var.load_balancer_watched
    },
    {
      for name, alert in {
        database-cpu    = { type = "v1/dbaas/alerts/cpu_alerts", value = var.thresholds.cpu, what = "Processor time of the database" }
        database-memory = { type = "v1/dbaas/alerts/memory_utilization_alerts", value = var.thresholds.memory, what = "Memory of the database" }
        database-disk   = { type = "v1/dbaas/alerts/disk_utilization_alerts", value = var.thresholds.disk, what = "Disk of the database" }
      } : name => merge(alert, { compare = "GreaterThan", tags = null, entities = [var.database_id] }) if var.database_watched
    },
  )
}

resource "digitalocean_monitor_alert" "main" {
  for_each = local.alerts

  description = "${var.name}: ${each.value.what} is ${each.value.compare == "LessThan" ? "below" : "above"} ${each.value.value} %"
  type        = each.value.type
  compare     = each.value.compare
  value       = each.value.value
  window      = "10m"
  enabled     = true
  tags        = each.value.tags
  entities    = each.value.entities

  alerts {
    email = var.emails
  }
}
