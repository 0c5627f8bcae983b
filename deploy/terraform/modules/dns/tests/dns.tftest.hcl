mock_provider "digitalocean" {}

variables {
  domain  = "example.com"
  hosts   = ["stage.shop.example.com", "example.com"]
  address = "203.0.113.7"
}

run "records" {
  assert {
    condition     = digitalocean_record.main["stage.shop.example.com"].name == "stage.shop" && digitalocean_record.main["example.com"].name == "@" && digitalocean_record.main["example.com"].value == "203.0.113.7"
    error_message = "The records are others."
  }
  assert {
    condition     = output.certificate_names == tolist(["example.com", "stage.shop.example.com"])
    error_message = "A name has no certificate."
  }
}

run "foreign_name" {
  command = plan
  variables {
    hosts = ["shop.example.org"]
  }
  expect_failures = [var.hosts]
}

run "no_domain" {
  command = plan
  variables {
    domain = "https://example.com"
    hosts  = ["https://example.com"]
  }
  expect_failures = [var.domain]
}

run "kept_too_short" {
  command = plan
  variables {
    ttl = 1
  }
  expect_failures = [var.ttl]
}

run "no_address" {
  command = plan
  variables {
    address = "lb.example.com"
  }
  expect_failures = [var.address]
}
