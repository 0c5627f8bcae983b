mock_provider "digitalocean" {}

run "an_account" {
  command = plan
  assert {
    condition     = digitalocean_spaces_bucket.state.name == "ecommerce-terraform-state" && digitalocean_spaces_bucket.backup.name == "ecommerce-backups"
    error_message = "The buckets are others."
  }
  assert {
    condition     = alltrue([for bucket in [digitalocean_spaces_bucket.state, digitalocean_spaces_bucket.backup] : bucket.acl == "private" && length(bucket.versioning) == 1 && bucket.versioning[0].enabled])
    error_message = "A bucket is public, or keeps no versions."
  }
  assert {
    condition     = alltrue([for bucket in [digitalocean_spaces_bucket.state, digitalocean_spaces_bucket.backup] : length(bucket.lifecycle_rule) == 1 && bucket.lifecycle_rule[0].enabled && bucket.lifecycle_rule[0].prefix == null && bucket.lifecycle_rule[0].noncurrent_version_expiration == toset([{ days = 90 }])])
    error_message = "Old versions do not expire, or not after 90 days."
  }
  assert {
    condition     = alltrue([for bucket in [digitalocean_spaces_bucket.state, digitalocean_spaces_bucket.backup] : length(bucket.lifecycle_rule[0].expiration) == 0])
    error_message = "What is not an old version expires."
  }
  assert {
    condition     = digitalocean_spaces_key.state.grant == tolist([{ bucket = "ecommerce-terraform-state", permission = "readwrite" }]) && toset(keys(digitalocean_spaces_key.backup)) == toset(["stage", "production"])
    error_message = "The key of the states opens something else, or an environment has no key."
  }
  assert {
    condition     = alltrue([for key in digitalocean_spaces_key.backup : key.grant == tolist([{ bucket = "ecommerce-backups", permission = "readwrite" }])])
    error_message = "A key of the backups opens something else."
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
