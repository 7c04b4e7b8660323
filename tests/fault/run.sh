#!/usr/bin/env bash
# Runs every fault of the embedded target under load and prints what came of it; --help lists the options.
set -eu
cd "$(dirname "$0")"
exec /usr/bin/python3 run.py "$@"
