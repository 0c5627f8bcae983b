#!/usr/bin/env bash
# Installs what tests need from the distribution, when it is absent: need.sh PROGRAM PACKAGE...
set -euo pipefail
program=$1; shift
! command -v "$program" >/dev/null || exit 0

echo "need.sh: $program is not installed; installing $* from the distribution"
command -v apt-get >/dev/null || { echo "need.sh: this is no Debian; install what has $program by hand, then run this again" >&2; exit 1; }
sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
