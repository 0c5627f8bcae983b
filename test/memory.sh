#!/usr/bin/env bash
# Resident memory of every component on its own, at rest, and of all in one process after the story of
# the README; then, with a MariaDB (test/mariadb.sh), the most that each component took while customers were
# buying. Prints a table; needs bin/tienda (make build).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
pids=()
cleanup() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT

rss() { awk '/VmRSS/ { printf "%.1f MiB\n", $2 / 1024 }' "/proc/$1/status"; }

names="cloud-config service-discovery zipkin user-service product-service order-service payment-service shipping-service favourite-service proxy-client api-gateway"
for name in $names; do
  SPRING_CONFIG_IMPORT=optional:configserver:http://127.0.0.1:29296 \
  EUREKA_CLIENT_SERVICEURL_DEFAULTZONE=http://127.0.0.1:28761/eureka SPRING_ZIPKIN_BASE_URL=http://127.0.0.1:29411 \
    bin/tienda run "$name" --demo --data "$dir/data" --port-offset 20000 >"$dir/$name.log" 2>&1 &
  pids+=($!)
done
for _ in $(seq 100); do curl -sf http://127.0.0.1:28080/product-service/api/products >/dev/null && break; sleep 0.2; done
sleep "${SETTLE:-15}"
i=0
for name in $names; do printf '%-20s %s\n' "tienda run $name" "$(rss "${pids[$i]}")"; i=$((i + 1)); done
for p in "${pids[@]}"; do kill "$p"; done
wait 2>/dev/null || true
pids=()

bin/tienda up --data "$dir/all" --port-offset 20000 >"$dir/up.log" 2>&1 &
pids=($!)
for _ in $(seq 100); do grep -q 'tienda is open' "$dir/up.log" && break; sleep 0.1; done
printf '%-20s %s\n' "tienda up, open" "$(rss "${pids[0]}")"
# The story is the block of the README that begins with SHOP=.
awk '/^```/ { inside = 0 } inside { print } /^```sh$/ { inside = 1 }' README.md | awk '/^SHOP=/ { on = 1 } on { print } /uniq -c$/ { exit }' | sed "s/localhost:8080/localhost:28080/g; s/localhost:9411/localhost:29411/g" >"$dir/story.sh"
sh -e "$dir/story.sh" >/dev/null
printf '%-20s %s\n' "tienda up, story" "$(rss "${pids[0]}")"
for p in "${pids[@]}"; do kill "$p"; done
wait 2>/dev/null || true
pids=()

# With the limit that the chart gives (GOMEMLIMIT is nine tenths of it), on MariaDB as in a cluster, over LOAD.
[ -n "${TIENDA_TEST_MYSQL_DSN:-}" ] || exit 0
server=${TIENDA_TEST_MYSQL_DSN#*\(}
server=${server%%)*}
for name in $names; do
  SPRING_CONFIG_IMPORT=optional:configserver:http://127.0.0.1:29296 GOMEMLIMIT="${LIMIT:-86MiB}" \
  EUREKA_CLIENT_SERVICEURL_DEFAULTZONE=http://127.0.0.1:28761/eureka SPRING_ZIPKIN_BASE_URL=http://127.0.0.1:29411 \
  SPRING_DATASOURCE_URL="jdbc:mysql://$server/memory_${name//-/_}?createDatabaseIfNotExist=true" SPRING_DATASOURCE_USERNAME=root \
    bin/tienda run "$name" --demo --data "$dir/loaded" --port-offset 20000 >"$dir/$name.log" 2>&1 &
  pids+=($!)
done
for _ in $(seq 300); do curl -sf http://127.0.0.1:28080/app/.well-known/jwks.json >/dev/null && break; sleep 0.2; done
sleep 5 # until everybody's copy of the registry has everybody
TIENDA_LOAD_ADMIN_PASSWORD=0000 bin/tienda load --target http://127.0.0.1:28080 --users "${USERS:-32}" --duration "${LOAD:-60s}" --admin admin >"$dir/load.log" 2>&1 ||
  { tail -5 "$dir/load.log"; exit 1; }
i=0
for name in $names; do
  printf '%-20s %s\n' "$name, buying" "$(awk '/VmHWM/ { printf "%.1f MiB\n", $2 / 1024 }' "/proc/${pids[$i]}/status")"
  i=$((i + 1))
done
