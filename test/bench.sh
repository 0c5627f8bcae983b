#!/usr/bin/env bash
# The figures of docs/performance.md: the whole shop over SQLite and over a private MariaDB that flushes
# every commit to disk, and the gateway beside a bare reverse proxy. BENCHTIME and BENCH narrow it down.
set -euo pipefail
cd "$(dirname "$0")/.."
export TIENDA_TEST_FLUSH=1
./test/mariadb.sh go test -run '^$' -bench "${BENCH:-BenchmarkShop}" -benchtime "${BENCHTIME:-5s}" -timeout 30m ./cmd/tienda
go test -run '^$' -bench . -benchtime 3s ./gateway
