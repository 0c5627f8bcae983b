# The bucket of the states, the bucket of the backups, keys for each that open nothing else, and the domain.

resource "digitalocean_spaces_bucket" "state" {
  name   = var.state_bucket
  region = var.region
  acl    = "private"

  # A state that was overwritten or deleted can be had back for this long.
  versioning {
    enabled = true
  }
  lifecycle_rule {
    enabled                                = true
    abort_incomplete_multipart_upload_days = 1

    noncurrent_version_expiration {
      days = var.keep_days
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "digitalocean_spaces_bucket" "backup" {
  name   = var.backup_bucket
  region = var.region
  acl    = "private"

  # Whoever has the keys of a backup can delete it, and its earlier version is still there.
  versioning {
    enabled = true
  }
  lifecycle_rule {
    enabled                                = true
    abort_incomplete_multipart_upload_days = 7

    noncurrent_version_expiration {
      days = var.keep_days
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "digitalocean_spaces_key" "state" {
  name = "terraform-state"

  grant {
    bucket     = digitalocean_spaces_bucket.state.name
    permission = "readwrite"
  }
}

resource "digitalocean_spaces_key" "backup" {
  for_each = toset(["stage", "production"])

  name = "backup-${each.key}"

  grant {
    bucket     = digitalocean_spaces_bucket.backup.name
    permission = "readwrite"
  }
}

resource "digitalocean_domain" "main" {
  count = var.domain == null ? 0 : 1

  name = var.domain

  lifecycle {
    prevent_destroy = true
  }
}
