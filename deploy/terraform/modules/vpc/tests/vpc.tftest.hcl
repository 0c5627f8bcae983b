mock_provider "digitalocean" {
  mock_data "digitalocean_regions" {
    defaults = {
      regions = [
        { slug = "nyc1", name = "New York 1", available = true, features = [], sizes = [] },
        { slug = "nyc3", name = "New York 3", available = true, features = [], sizes = [] },
        { slug = "sfo1", name = "San Francisco 1", available = false, features = [], sizes = [] },
      ]
    }
  }
}

variables {
  name                = "ecommerce-stage"
  region              = "nyc1"
  ip_range            = "10.10.0.0/16"
  other_networks      = ["10.244.0.0/16", "10.245.0.0/16"]
  deletion_protection = false
}

run "stage" {
  assert {
    condition     = digitalocean_vpc.main.ip_range == "10.10.0.0/16" && digitalocean_vpc.main.region == "nyc1"
    error_message = "The network is not the one that was asked for."
  }
  assert {
    condition     = length(terraform_data.protection) == 0
    error_message = "Stage is protected from its deletion."
  }
}

run "production" {
  command = plan
  variables {
    name                = "ecommerce-production"
    ip_range            = "10.20.0.0/16"
    deletion_protection = true
  }
  assert {
    condition     = length(terraform_data.protection) == 1
    error_message = "Production is not protected from its deletion."
  }
}

run "unknown_region" {
  command = plan
  variables {
    region = "nyc9"
  }
  expect_failures = [digitalocean_vpc.main]
}

run "region_that_takes_nothing_new" {
  command = plan
  variables {
    region = "sfo1"
  }
  expect_failures = [digitalocean_vpc.main]
}

run "overlap_inside" {
  command = plan
  variables {
    other_networks = ["10.10.128.0/20"]
  }
  expect_failures = [digitalocean_vpc.main]
}

run "overlap_outside" {
  command = plan
  variables {
    other_networks = ["10.0.0.0/8"]
  }
  expect_failures = [digitalocean_vpc.main]
}

run "overlap_of_pods_and_services" {
  command = plan
  variables {
    other_networks = ["10.244.0.0/16", "10.244.32.0/19"]
  }
  expect_failures = [digitalocean_vpc.main]
}

run "neighbours_do_not_overlap" {
  command = plan
  variables {
    other_networks = ["10.9.0.0/16", "10.11.0.0/17", "10.11.128.0/17"]
  }
}

run "public_network" {
  command = plan
  variables {
    ip_range = "8.8.0.0/16"
  }
  expect_failures = [var.ip_range]
}

run "no_network" {
  command = plan
  variables {
    ip_range = "10.10.0.0"
  }
  expect_failures = [var.ip_range]
}

run "address_in_a_network" {
  command = plan
  variables {
    ip_range = "10.10.5.0/16"
  }
  expect_failures = [var.ip_range]
}

run "other_address_in_a_network" {
  command = plan
  variables {
    other_networks = ["10.244.1.0/16"]
  }
  expect_failures = [var.other_networks]
}
