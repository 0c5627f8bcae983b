mock_provider "digitalocean" {}

run "an_account" {
  command = plan
  assert {
    condition     = digitalocean_spaces_bucket.state.name == "ecommerce-terraform-state" && digitalocean_spaces_bucket.state.versioning[0].enabled && digitalocean_spaces_bucket.state.acl == "private"
    error_message = "The bucket of the states is another, public, or keeps no versions."
  }
  assert {
    condition     = alltrue([for version in digitalocean_spaces_bucket.state.lifecycle_rule[0].noncurrent_version_expiration : version.days == 90])
    error_message = "Old versions do not expire."
  }
  assert {
    condition     = alltrue([for key in concat([digitalocean_spaces_key.state], values(digitalocean_spaces_key.backup)) : length(key.grant) == 1 && key.grant[0].permission == "readwrite" && key.grant[0].bucket != ""])
    error_message = "A key opens more than one bucket."
  }
  assert {
    condition     = length(digitalocean_domain.main) == 0
    error_message = "There is a domain that nobody asked for."
  }
}

run "region_without_spaces" {
  command = plan
  variables {
    region = "nyc1"
  }
  expect_failures = [var.region]
}

run "one_bucket_for_both" {
  command = plan
  variables {
    backup_bucket = "ecommerce-terraform-state"
  }
  expect_failures = [var.backup_bucket]
}

run "no_bucket" {
  command = plan
  variables {
    state_bucket = "Ecommerce_State"
  }
  expect_failures = [var.state_bucket]
}

run "kept_too_short" {
  command = plan
  variables {
    keep_days = 1
  }
  expect_failures = [var.keep_days]
}
