#!/usr/bin/env bash
# What make does with an environment: environment.sh plan|apply|kubeconfig|deploy|rollback|destroy stage|production
#   TERRAFORM       the program, terraform or tofu
#   HELM            the program helm, of version 4
#   IMAGE           the shop's image, as registry.example.com/shop/tienda:1.0 or …/tienda@sha256:…
#   REVISION        the revision of Helm's that a rollback goes back to; the last good one that is not what runs when it is not given
#   TIENDA          the program tienda, which looks at the bucket and adds up the bill
#   STATE_BUCKET    the bucket of the states, STATE_REGION its region, STATE_ENDPOINT the address of its service
#   KUBECONFIG_FILE file with the credentials of the cluster
#   APPROVE=yes     does not ask
#   CONFIRM         the name of the environment, ecommerce-production, before it is destroyed
set -euo pipefail
action=$1 environment=$2
here=$(cd "$(dirname "$0")" && pwd)
name=ecommerce-$environment
terraform=${TERRAFORM:-terraform} helm=${HELM:-helm}
endpoint=${STATE_ENDPOINT:-https://${STATE_REGION:-nyc3}.digitaloceanspaces.com}
bucket=${STATE_BUCKET:-ecommerce-terraform-state}
kubeconfig=${KUBECONFIG_FILE:-$HOME/.kube/$name}
export TF_VAR_kubeconfig=$kubeconfig KUBECONFIG=$kubeconfig TF_IN_AUTOMATION=1
# Spaces knows no other checksums than MD5.
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required

# IMAGE as a file of values that is read after own.auto.tfvars: a saved plan is applied with the values that it was made with.
chosen=$here/environments/$environment/platform/the-image.auto.tfvars.json

# Plans hold passwords.
plans=$(umask 077 && mktemp -d)
trap 'rm -rf "$plans" "$chosen"' EXIT

say() { echo "$name: $*" >&2; }

[[ ${IMAGE:-x:1} =~ ^[^@]+(:[^/:@]+|@sha256:[0-9a-f]{64})$ && ${IMAGE:-} != *:latest ]] ||
  { say "IMAGE is $IMAGE: give it a tag other than latest, or better a digest, as registry.example.com/shop/tienda@sha256:..."; exit 1; }

in_root() { "$terraform" -chdir="$here/environments/$environment/$1" "${@:2}"; }

# A bucket that no root here was in before must show that it can hold a lock.
open() {
  local proven=$here/environments/$environment/$1/.terraform/proven
  if [ "$(cat "$proven" 2>/dev/null)" != "$endpoint/$bucket" ]; then
    $TIENDA state-doctor --bucket "$endpoint/$bucket"
  fi
  in_root "$1" init -input=false -reconfigure -backend-config="bucket=$bucket" -backend-config="endpoints={s3=\"$endpoint\"}" >/dev/null
  echo "$endpoint/$bucket" >"$proven"
}

# IMAGE as Terraform and the chart want it; a tag beside a digest says nothing more.
image() {
  local repository=${IMAGE%%@*} tag=
  case ${repository##*/} in *:*) tag=${repository##*:} repository=${repository%:*} ;; esac
  case $IMAGE in
  *@*) printf '{"repository":"%s","digest":"%s"}' "$repository" "${IMAGE#*@}" ;;
  *) printf '{"repository":"%s","tag":"%s"}' "$repository" "$tag" ;;
  esac
}

[ -z "${IMAGE:-}" ] || printf '{"image":%s}' "$(image)" >"$chosen"

# What DigitalOcean says of the cluster, by its id.
ask() { # id, and what of it
  local api=${DIGITALOCEAN_API_URL:-https://api.digitalocean.com}
  curl -fsS -H @- "${api%/}/v2/kubernetes/clusters/$1${2:-}" <<<"Authorization: Bearer ${DIGITALOCEAN_TOKEN:-}"
}

plan() { # root, further arguments
  open "$1"
  say "plan of $1"
  if [ "$1" = cluster ]; then
    # The version that it has, so that a patch that DigitalOcean has withdrawn is no reason to make it anew; none of a cluster that is not there.
    local id running=
    id=$(cluster_id)
    [ -z "$id" ] || running=$(ask "$id" 2>/dev/null | jq -r '.kubernetes_cluster.version // empty') || running=
    [ -z "$running" ] || export TF_VAR_running_version=$running
  fi
  in_root "$1" plan -input=false -out="$plans/$1" "${@:2}"
  in_root "$1" show -json "$plans/$1" >"$plans/$1.json"
}

# What was planned, once somebody agrees.
carry_out() { # root
  if [ "${APPROVE:-}" != yes ]; then
    read -r -p "Do this? Only yes does it: " answer
    [ "$answer" = yes ] || { say "nothing was done"; exit 1; }
  fi
  in_root "$1" apply -input=false "$plans/$1"
}

apply() {
  plan "$@"
  carry_out "$1"
}

# Id of the cluster, or nothing while there is none.
cluster_id() { in_root cluster output -json | jq -r '.cluster_id.value // empty'; }

# Credentials of the cluster that are worth something for a day, of whoever's token it is.
credentials() {
  mkdir -p "$(dirname "$kubeconfig")"
  open cluster
  local cluster
  cluster=$(cluster_id)
  [ -n "$cluster" ] || { say "there is no cluster yet: make apply-$environment"; exit 1; }
  (umask 077 && ask "$cluster" "/kubeconfig?expiry_seconds=86400" >"$plans/kubeconfig") ||
    { say "DigitalOcean gives no credentials: is the cluster there (make apply-$environment), and is DIGITALOCEAN_TOKEN set?"; exit 1; }
  mv "$plans/kubeconfig" "$kubeconfig"
  say "credentials are in $kubeconfig; export KUBECONFIG=$kubeconfig"
}

# Of the Secrets that only people can make, those that are not there or lack a key: how to make them. Without them the shop's pods would
# wait until its release is given up.
missing() { # JSON: names, and the keys of each
  local secret keys key there
  jq -r 'to_entries[] | [.key, .value[]] | join(" ")' <<<"$1" | while read -r secret keys; do
    there=$(kubectl --namespace "$name" get secret "$secret" --ignore-not-found -o go-template='{{range $key, $_ := .data}}{{$key}} {{end}}' </dev/null) || exit 1
    for key in $keys; do
      case " $there" in
      *" $key "*) ;;
      *)
        [ -z "$there" ] || echo "  kubectl --namespace $name delete secret $secret"
        echo "  kubectl --namespace $name create secret generic $secret$(printf ' --from-literal=%s=...' $keys)"
        break
        ;;
      esac
    done
  done
}

made_by_hand() { # what is missing, and what to do afterwards
  say "the shop needs Secrets that are not there, or not whole, and that only people can make. Make them, then $2:"
  printf '%s\n' "  export KUBECONFIG=$kubeconfig" "$1" >&2
}

# Whether Helm owns the release: nobody else may touch what Terraform does, and the other way round.
helm_owns() {
  local owner
  open platform
  owner=$(in_root platform output -json | jq -r '.release_owner.value // empty')
  case $owner in
  helm) ;;
  terraform) say "the shop's release is Terraform's: make apply-$environment with IMAGE set installs an image, an earlier one too. For Helm to own it, set release_owner to helm; docs/terraform.md says how." && exit 1 ;;
  *) say "there is nothing to install the shop into yet: make apply-$environment" && exit 1 ;;
  esac
}

# The revision to go back to when nobody names one: the newest that was good, and another than the present one when that is good as well.
# Helm by itself takes the one before, which is the bad one when a deployment was taken back.
good_before() { # history
  local present= running revision manifest
  running=$(jq -r 'last | select(.status == "deployed") | .revision' <<<"$1")
  [ -z "$running" ] || present=$("$helm" get manifest shop --namespace "$name" --revision "$running") || exit 1
  for revision in $(jq -r '.[:-1] | reverse[] | select(.status | IN("superseded", "deployed")) | select(.description | test("^(Upgrade|Rollback|Release) .* failed: ") | not) | .revision' <<<"$1"); do
    manifest=$("$helm" get manifest shop --namespace "$name" --revision "$revision") || exit 1
    if [ "$manifest" != "$present" ]; then
      echo "$revision"
      break
    fi
  done
}

case $action in
plan)
  plan cluster
  # One that is made by this plan, because it is not there yet or not any more, has no credentials, whatever the state says of it.
  if jq -e 'any(.resource_changes[]; .type == "digitalocean_kubernetes_cluster" and any(.change.actions[]; . == "create"))' "$plans/cluster.json" >/dev/null; then
    $TIENDA cost --plan "$plans/cluster.json"
    say "this plan makes the cluster, and what is in it cannot be planned before there is one: make apply-$environment"
  else
    credentials
    plan platform
    $TIENDA cost --plan "$plans/cluster.json" --plan "$plans/platform.json"
  fi
  ;;
apply)
  apply cluster
  credentials
  plan platform
  outputs=$(jq '.planned_values.outputs | map_values(.value)' "$plans/platform.json")
  if [ "$(jq -r .release_owner <<<"$outputs")" = terraform ]; then
    lacking=$(missing "$(jq .by_hand <<<"$outputs")")
    if [ -n "$lacking" ]; then
      if [ -z "$(kubectl get namespace "$name" --ignore-not-found -o name)" ]; then
        say "this plan has to wait for Secrets that only people can make. What they are made in comes first: namespaces, rights and policies"
        apply platform -target=module.rbac
      fi
      made_by_hand "$lacking" "make apply-$environment again"
      exit 1
    fi
  fi
  carry_out platform
  ;;
deploy)
  [ -n "${IMAGE:-}" ] || { say "say which image: make deploy-$environment IMAGE=registry.example.com/shop/tienda@sha256:..."; exit 1; }
  helm_owns
  credentials
  lacking=$(missing "$(in_root platform output -json by_hand)")
  if [ -n "$lacking" ]; then
    made_by_hand "$lacking" "make deploy-$environment again"
    exit 1
  fi
  in_root platform output -raw settings >"$plans/settings.yaml"
  chart=$here/../helm/tienda
  "$helm" upgrade shop "$chart" --install --namespace "$name" --values "$chart/values-$environment.yaml" --values "$plans/settings.yaml" --set-json "image=$(image)" --rollback-on-failure --wait --timeout 15m
  ;;
rollback)
  helm_owns
  credentials
  history=$("$helm" history shop --namespace "$name" --output json | jq 'sort_by(.revision)')
  revision=${REVISION:-$(good_before "$history")}
  if [ -z "$revision" ]; then
    "$helm" history shop --namespace "$name" >&2
    say "nothing to go back to: of the above none before the present one was good and is another than it. REVISION=... takes the one that you name; make deploy-$environment with an earlier IMAGE installs that."
    exit 1
  fi
  chosen_image=$("$helm" get values shop --namespace "$name" --revision "$revision" --output json | jq -r '.image // {} | (.repository // "the image of the chart") + (if .digest then "@" + .digest elif .tag then ":" + .tag else "" end)')
  say "back to revision $revision: $(jq -r --arg revision "$revision" '.[] | select((.revision | tostring) == $revision) | "\(.chart) of \(.updated), \(.description)"' <<<"$history"), image $chosen_image"
  "$helm" rollback shop "$revision" --namespace "$name" --wait --timeout 15m
  "$helm" history shop --namespace "$name" --max 5
  ;;
kubeconfig)
  credentials
  ;;
destroy)
  if [ "$environment" = production ] && [ "${CONFIRM:-}" != "$name" ]; then
    say "production is not destroyed by accident: set CONFIRM=$name. Its network, cluster and database are protected beside that; docs/terraform.md says how to lift it."
    exit 1
  fi
  open cluster
  if [ "$environment" = production ]; then
    if in_root cluster state list | grep -F 'terraform_data.protection'; then
      say "the above refuses the destruction. Look at the backups; then, to lift it: $terraform -chdir=$here/environments/$environment/cluster state rm ADDRESS"
      exit 1
    fi
  fi
  say "this deletes the data too: the volume of MySQL goes with its namespace, and a managed server with its cluster. Only backups are left; bin/tienda backup list shows the newest."
  # What is in the cluster first, so that its load balancer goes too; credentials of yesterday would not do.
  [ -z "$(cluster_id)" ] || credentials
  apply platform -destroy
  apply cluster -destroy
  ;;
*)
  say "there is plan, apply, kubeconfig, deploy, rollback and destroy, and no $action"
  exit 2
  ;;
esac
