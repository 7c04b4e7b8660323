#!/usr/bin/env bash
# Compares the gateway with qemu-nbd and a plain TCP relay in one run; --help lists the options. With --recovery first:
# how fast the gateway recovers from trouble. With --scrape first: what scrapes of /metrics cost it. With --shares first: what a
# newcomer notices of clients that want all or give nothing back.
set -eu
cd "$(dirname "$0")"
if [ "${1:-}" = --recovery ]; then
  shift
  exec /usr/bin/python3 recovery.py "$@"
fi
if [ "${1:-}" = --scrape ]; then
  shift
  exec /usr/bin/python3 scrape.py "$@"
fi
if [ "${1:-}" = --shares ]; then
  shift
  exec /usr/bin/python3 shares.py "$@"
fi
exec /usr/bin/python3 bench.py "$@"
