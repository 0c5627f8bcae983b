#!/bin/bash
# What the entry point of the image mysql does, as far as the chart relies on it: a volume that is new gets its system
# tables, a password of root (MYSQL_ROOT_PASSWORD_FILE) and what stands in /docker-entrypoint-initdb.d, all of it before
# the server listens to the network; then the server runs in place of this script.
set -euo pipefail

data=/var/lib/mysql
[ "${1:-}" = mysqld ] || exec "$@"
shift
if [ ! -d "$data/mysql" ]; then
  password=$(cat "$MYSQL_ROOT_PASSWORD_FILE")
  mariadb-install-db --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >/dev/null
  mariadbd --skip-networking &
  server=$!
  until mariadb-admin ping >/dev/null 2>&1; do
    kill -0 "$server" # it is gone: the server has said why
    sleep 0.2
  done
  mariadb --user=root <<SQL
SET SESSION sql_log_bin = 0;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$password';
CREATE USER 'root'@'%' IDENTIFIED BY '$password';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION;
SQL
  for script in /docker-entrypoint-initdb.d/*; do
    case "$script" in
      *.sh) . "$script" ;;
      *.sql) MYSQL_PWD=$password mariadb --user=root <"$script" ;;
    esac
  done
  kill "$server"
  wait "$server"
fi
exec mariadbd "$@"
