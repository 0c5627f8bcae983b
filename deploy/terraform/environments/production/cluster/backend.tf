# The bucket can be another one: its name is one of all customers' (make, STATE_BUCKET and STATE_REGION). The keys are in
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
terraform {
  backend "s3" {
    bucket         = "ecommerce-terraform-state"
    key            = "production/terraform.tfstate"
    region         = "us-east-1" # Spaces wants one of Amazon's; where the bucket is, the endpoint says
    use_lockfile   = true        # tienda state-doctor proves that the bucket honours it
    use_path_style = true

    endpoints = {
      s3 = "https://nyc3.digitaloceanspaces.com"
    }

    # What Amazon has and Spaces does not.
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_region_validation      = true
    skip_requesting_account_id  = true
    skip_s3_checksum            = true
  }
}
