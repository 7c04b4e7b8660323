#!/usr/bin/env bash
# Compares the gateway with qemu-nbd and a plain TCP relay in one run; --help lists the options. With --recovery first:
# how fast the gateway recovers from trouble.
set -eu
cd "$(dirname "$0")"
if [ "${1:-}" = --recovery ]; then
  shift
  exec /usr/bin/python3 recovery.py "$@"
fi
exec /usr/bin/python3 bench.py "$@"
