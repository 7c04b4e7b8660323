#!/usr/bin/env bash
# Compares the gateway with qemu-nbd and a plain TCP relay in one run; --help lists the options.
set -eu
cd "$(dirname "$0")"
exec /usr/bin/python3 bench.py "$@"
