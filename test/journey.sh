#!/usr/bin/env bash
# Plays a client's journey that others wrote for the Java system (a Postman collection) against
# `tienda up --fresh --profile origin`, and fails unless every assertion passes.
# The collection is not part of this repository: without it there is nothing to play.
set -euo pipefail
cd "$(dirname "$0")/.."

collection=${TIENDA_JOURNEY:-../shared/acceptance/java-client-journey.postman_collection.json}
if [ ! -f "$collection" ]; then
  echo "journey.sh: no collection at $collection; set TIENDA_JOURNEY to play one"
  exit 0
fi
test/need.sh npm npm
[ -x test/newman/node_modules/.bin/newman ] || (cd test/newman && npm ci --no-audit --no-fund --loglevel=error)

dir=$(mktemp -d)
pid=""
cleanup() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }; rm -rf "$dir"; }
trap cleanup EXIT

# The ports are fixed relative to each other, so an offset that is free is looked for.
for offset in 11000 13000 15000 17000 19000; do
  bin/tienda up --fresh --profile origin --data "$dir/data" --port-offset "$offset" >"$dir/out" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    grep -q 'tienda is open' "$dir/out" && break 2
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=""
done
[ -n "$pid" ] || { echo "journey.sh: tienda does not start:"; cat "$dir/out"; exit 1; }

test/newman/node_modules/.bin/newman run "$collection" --reporters cli,json \
  --reporter-json-export "$dir/report.json" --env-var "base_url=http://127.0.0.1:$((8080 + offset))/app" >"$dir/newman" 2>&1 \
  || { cat "$dir/newman"; exit 1; }
node -e '
  const stats = require(process.argv[1]).run.stats;
  const { total, failed } = stats.assertions;
  console.log(`journey.sh: ${stats.requests.total} requests, ${total} assertions, ${failed} failed`);
  if (failed > 0 || total < 41 || stats.requests.failed > 0) process.exit(1);
' "$dir/report.json"
