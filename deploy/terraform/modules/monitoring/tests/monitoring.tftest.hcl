mock_provider "digitalocean" {}

variables {
  name   = "ecommerce-stage"
  emails = ["ops@example.com"]
}

run "nodes" {
  variables {
    node_tag = "ecommerce-stage"
  }
  assert {
    condition     = output.alerts == tolist(["node-cpu", "node-disk", "node-memory"]) && alltrue([for alert in digitalocean_monitor_alert.main : alert.tags == toset(["ecommerce-stage"]) && alert.enabled])
    error_message = "Not all of a node is watched."
  }
  assert {
    condition     = alltrue([for alert in digitalocean_monitor_alert.main : alert.entities == null])
    error_message = "An alert with tags has entities, of which the provider refuses an empty list."
  }
}

run "load_balancer_and_database" {
  variables {
    load_balancer_watched = true
    load_balancer_id      = "17d171d0-8a8b-4251-9c18-c96cc515d36d"
    database_watched      = true
    database_id           = "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30"
  }
  assert {
    condition     = output.alerts == tolist(["database-cpu", "database-disk", "database-memory", "entry-connections", "entry-nodes"])
    error_message = "Load balancer or database are not watched."
  }
}

run "nobody_reads" {
  command = plan
  variables {
    emails = []
  }
  expect_failures = [var.emails]
}

run "more_than_all" {
  command = plan
  variables {
    thresholds = { cpu = 180 }
  }
  expect_failures = [var.thresholds]
}
