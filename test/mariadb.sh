#!/usr/bin/env bash
# Runs a command with a private MariaDB: installed from the distribution when it is absent, in a folder
# of its own, on a free port, gone afterwards. The command finds it in TIENDA_TEST_MYSQL_DSN. Without a
# command it is installed and that is all.
set -euo pipefail

"$(dirname "$0")/need.sh" mariadbd mariadb-server
[ $# -gt 0 ] || exit 0

dir=$(mktemp -d)
pid=""
cleanup() {
  [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

user=$(id -un)
# A folder for temporary tables of its own: a server that starts removes what it finds in a shared one.
mkdir "$dir/tmp"
mariadb-install-db --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --auth-root-authentication-method=normal \
  --skip-test-db --user="$user" >"$dir/install.log" 2>&1 || { cat "$dir/install.log"; exit 1; }

# The kernel picks the port; another process could take it before MariaDB does, hence the tries.
for _ in 1 2 3 4 5; do
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo $((20000 + RANDOM % 20000)))
  mariadbd --no-defaults --user="$user" --datadir="$dir/data" --tmpdir="$dir/tmp" --socket="$dir/socket" --pid-file="$dir/pid" \
    --bind-address=127.0.0.1 --port="$port" --max-connections=600 --innodb-buffer-pool-size=256M \
    --innodb-flush-log-at-trx-commit="${TIENDA_TEST_FLUSH:-2}" --skip-log-bin --skip-ssl >"$dir/server.log" 2>&1 &
  pid=$!
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || break
    if mariadb-admin --no-defaults --socket="$dir/socket" --user=root ping >/dev/null 2>&1; then break 2; fi
    sleep 0.1
  done
  kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=""
done
[ -n "$pid" ] || { echo "mariadb.sh: MariaDB does not start:"; tail -20 "$dir/server.log"; exit 1; }

echo "mariadb.sh: private MariaDB $(mariadbd --version | awk '{print $3}') on 127.0.0.1:$port"
export TIENDA_TEST_MYSQL_DSN="root@tcp(127.0.0.1:$port)/"
"$@"
