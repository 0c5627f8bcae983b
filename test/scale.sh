#!/usr/bin/env bash
# Makes a small shop (1,000 products and orders) and a large one (SIZE, a million by default) on one engine
# after the other and compares them with test/scale. KEEP=DIR keeps them, or takes those of an earlier run;
# ENGINES="sqlite mariadb" chooses. Needs 15 GB of disk for a million on both engines, and some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
size=${SIZE:-1000000}
keep=${KEEP:-$(mktemp -d)}
mkdir -p "$keep"
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -n "${KEEP:-}" ] || rm -rf "$keep"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
CGO_ENABLED=0 go build -o "$keep/tienda" ./cmd/tienda
go build -o "$keep/scale" ./test/scale

# up DIR OFFSET: a shop that is open when this returns; its process is the last of pids.
up() {
  "$keep/tienda" up --data "$1" --port-offset "$2" >"$1.out" 2>&1 &
  pids+=($!)
  for _ in $(seq 600); do
    grep -q "tienda is open" "$1.out" && return
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$1.out"; return 1
}

down() {
  for pid in "${pids[@]:$1}"; do kill "$pid"; wait "$pid" || true; done
  pids=("${pids[@]:0:$1}")
}

# make_shop DIR N: an open shop's worth of demo data first, for its administrator, then N products and orders.
make_shop() {
  [ ! -e "$1/filled" ] || { "$keep/tienda" migrate --data "$1" >/dev/null; return 0; }
  local before=${#pids[@]}
  mkdir -p "$1"
  up "$1" 9000
  down "$before"
  "$keep/tienda" load --fill --data "$1" --products "$2" --orders "$2" --users $(($2 / 10)) 2>/dev/null | tee "$1/filled"
}

compare() { # PREFIX
  local before=${#pids[@]} password
  use "$1" small; make_shop "$keep/$1-small" 1000
  use "$1" large; make_shop "$keep/$1-large" "$size"
  password=$(sed -n 's/.*with the password //p' "$keep/$1-large/filled")
  use "$1" small; up "$keep/$1-small" 9000
  use "$1" large; up "$keep/$1-large" 10000
  echo "== $1: 1,000 and $size products and orders"
  "$keep/scale" -small http://127.0.0.1:17080 -large http://127.0.0.1:18080 -password "$password" ${ARGS:-}
  down "$before"
}

# use ENGINE NAME: where the next commands find their databases.
use() {
  if [ "$1" = mariadb ]; then
    export SPRING_DATASOURCE_URL="jdbc:mysql://127.0.0.1:13306/$2?createDatabaseIfNotExist=true" SPRING_DATASOURCE_USERNAME=root
  fi
}

for engine in ${ENGINES:-sqlite mariadb}; do
  if [ "$engine" = mariadb ]; then
    [ -d "$keep/server" ] || mariadb-install-db --no-defaults --datadir="$keep/server" --auth-root-authentication-method=normal \
      --skip-test-db --user="$(id -un)" >"$keep/install.log" 2>&1
    mariadbd --no-defaults --user="$(id -un)" --datadir="$keep/server" --socket="$keep/socket" --pid-file="$keep/pid" \
      --bind-address=127.0.0.1 --port=13306 --max-connections=600 --innodb-buffer-pool-size=1G \
      --innodb-flush-log-at-trx-commit=1 --skip-log-bin >"$keep/server.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 300); do mariadb-admin --no-defaults --socket="$keep/socket" --user=root ping >/dev/null 2>&1 && break; sleep 0.1; done
  fi
  compare "$engine"
done
