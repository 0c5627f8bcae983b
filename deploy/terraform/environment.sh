#!/usr/bin/env bash
# What make does with an environment: environment.sh plan|apply|kubeconfig|destroy stage|production
#   TERRAFORM       the program, terraform or tofu
#   TIENDA          the program tienda, which looks at the bucket and adds up the bill
#   STATE_BUCKET    the bucket of the states, STATE_REGION its region, STATE_ENDPOINT the address of its service
#   KUBECONFIG_FILE file with the credentials of the cluster
#   APPROVE=yes     does not ask
#   CONFIRM         the name of the environment, ecommerce-production, before it is destroyed
set -euo pipefail
action=$1 environment=$2
here=$(cd "$(dirname "$0")" && pwd)
name=ecommerce-$environment
terraform=${TERRAFORM:-terraform}
endpoint=${STATE_ENDPOINT:-https://${STATE_REGION:-nyc3}.digitaloceanspaces.com}
bucket=${STATE_BUCKET:-ecommerce-terraform-state}
kubeconfig=${KUBECONFIG_FILE:-$HOME/.kube/$name}
export TF_VAR_kubeconfig=$kubeconfig TF_IN_AUTOMATION=1
# Spaces knows no other checksums than MD5.
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required

# Plans hold passwords.
plans=$(umask 077 && mktemp -d)
trap 'rm -rf "$plans"' EXIT

say() { echo "$name: $*" >&2; }

in_root() { "$terraform" -chdir="$here/environments/$environment/$1" "${@:2}"; }

# The first time here, the bucket must show that it can hold a lock.
open() {
  if [ ! -d "$here/environments/$environment/$1/.terraform" ]; then
    $TIENDA state-doctor --bucket "$endpoint/$bucket"
  fi
  in_root "$1" init -input=false -reconfigure -backend-config="bucket=$bucket" -backend-config="endpoints={s3=\"$endpoint\"}" >/dev/null
}

plan() { # root, further arguments
  open "$1"
  say "plan of $1"
  in_root "$1" plan -input=false -out="$plans/$1" "${@:2}"
  in_root "$1" show -json "$plans/$1" >"$plans/$1.json"
}

apply() {
  plan "$@"
  if [ "${APPROVE:-}" != yes ]; then
    read -r -p "Do this? Only yes does it: " answer
    [ "$answer" = yes ] || { say "nothing was done"; exit 1; }
  fi
  in_root "$1" apply -input=false "$plans/$1"
}

# Credentials of the cluster that are worth something for a day, of whoever's token it is.
credentials() {
  mkdir -p "$(dirname "$kubeconfig")"
  open cluster
  local cluster api=${DIGITALOCEAN_API_URL:-https://api.digitalocean.com}
  cluster=$(in_root cluster output -raw cluster_id)
  (umask 077 && curl -fsS -H @- "${api%/}/v2/kubernetes/clusters/$cluster/kubeconfig?expiry_seconds=86400" >"$plans/kubeconfig" <<<"Authorization: Bearer ${DIGITALOCEAN_TOKEN:-}") ||
    { say "DigitalOcean gives no credentials: is the cluster there (make apply-$environment), and is DIGITALOCEAN_TOKEN set?"; exit 1; }
  mv "$plans/kubeconfig" "$kubeconfig"
  say "credentials are in $kubeconfig; export KUBECONFIG=$kubeconfig"
}

case $action in
plan)
  plan cluster
  if [ -e "$kubeconfig" ]; then
    plan platform
    $TIENDA cost --plan "$plans/cluster.json" --plan "$plans/platform.json"
  else
    $TIENDA cost --plan "$plans/cluster.json"
    say "what is in the cluster cannot be planned before there is one: make apply-$environment"
  fi
  ;;
apply)
  apply cluster
  credentials
  apply platform
  ;;
kubeconfig)
  credentials
  ;;
destroy)
  if [ "$environment" = production ] && [ "${CONFIRM:-}" != "$name" ]; then
    say "production is not destroyed by accident: set CONFIRM=$name. Its network, cluster and database are protected beside that; docs/terraform.md says how to lift it."
    exit 1
  fi
  if [ "$environment" = production ]; then
    open cluster
    if in_root cluster state list | grep -F 'terraform_data.protection'; then
      say "the above refuses the destruction. Look at the backups; then, to lift it: $terraform -chdir=$here/environments/$environment/cluster state rm ADDRESS"
      exit 1
    fi
  fi
  # What is in the cluster first, so that its load balancer goes too.
  apply platform -destroy
  apply cluster -destroy
  ;;
*)
  say "there is plan, apply, kubeconfig and destroy, and no $action"
  exit 2
  ;;
esac
