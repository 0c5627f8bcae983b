# Once for an account, before everything else. Its state is a file beside it: there is no bucket yet. Keep that file where passwords
# are kept.
terraform {
  required_version = ">= 1.10"

  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.99"
    }
  }
}

# Its token is in DIGITALOCEAN_TOKEN, and keys for all of Spaces in SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY.
provider "digitalocean" {}
