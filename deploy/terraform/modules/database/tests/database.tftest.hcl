mock_provider "digitalocean" {}

variables {
  name                = "ecommerce-production"
  region              = "nyc1"
  vpc_id              = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
  cluster_id          = "bd5f5959-5e1e-4205-a714-a914373942af"
  size                = "db-s-1vcpu-2gb"
  standbys            = 1
  deletion_protection = false
}

run "with_standby" {
  assert {
    condition     = digitalocean_database_cluster.main.engine == "mysql" && digitalocean_database_cluster.main.node_count == 2 && digitalocean_database_cluster.main.private_network_uuid == var.vpc_id
    error_message = "There is no standby, or no private address."
  }
  assert {
    condition     = length(digitalocean_database_firewall.main.rule) == 1 && alltrue([for rule in digitalocean_database_firewall.main.rule : rule.type == "k8s" && rule.value == var.cluster_id])
    error_message = "Others than the cluster reach the database."
  }
  assert {
    condition     = length(digitalocean_database_db.main) == 7 && contains(keys(digitalocean_database_db.main), "tienda_order") && contains(keys(digitalocean_database_db.main), "tienda_zipkin")
    error_message = "A component has no schema."
  }
  assert {
    condition     = output.accounts == tolist(["tienda_backup", "tienda_favourite", "tienda_order", "tienda_payment", "tienda_product", "tienda_shipping", "tienda_user", "tienda_zipkin"])
    error_message = "The accounts are others."
  }
}

run "protected" {
  command = plan
  variables {
    deletion_protection = true
  }
  assert {
    condition     = length(terraform_data.protection) == 1
    error_message = "The data is not protected."
  }
}

run "standby_of_the_smallest" {
  command = plan
  variables {
    size = "db-s-1vcpu-1gb"
  }
  expect_failures = [var.standbys]
}

run "too_many_standbys" {
  command = plan
  variables {
    standbys = 3
  }
  expect_failures = [var.standbys]
}

run "size_of_a_droplet" {
  command = plan
  variables {
    size = "s-1vcpu-2gb"
  }
  expect_failures = [var.size]
}

run "prefix_that_the_chart_refuses" {
  command = plan
  variables {
    prefix = "Tienda_shop"
  }
  expect_failures = [var.prefix]
}

run "no_components" {
  command = plan
  variables {
    components = []
  }
  expect_failures = [var.components]
}

run "name_too_long_for_an_account" {
  command = plan
  variables {
    components = ["recommendation-of-the-day-of-others-service"]
  }
  expect_failures = [var.components]
}

run "maintenance_on_no_day" {
  command = plan
  variables {
    maintenance = { day = "Tuesday", hour = "05:00:00" }
  }
  expect_failures = [var.maintenance]
}

run "maintenance_at_no_hour" {
  command = plan
  variables {
    maintenance = { day = "tuesday", hour = "5" }
  }
  expect_failures = [var.maintenance]
}
