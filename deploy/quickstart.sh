#!/usr/bin/env bash
# From a fresh Debian 12 or 13 to a running demo: installs what is missing, builds, and runs `nbdgw demo`, which copies
# real data in and out through the gateway. Run it again as often as you like; it does only what is still to be done.
#
#   deploy/quickstart.sh            the demo stays up until Ctrl-C
#   deploy/quickstart.sh --once     ends after the copies
#
# Other arguments go to `nbdgw demo`, too. Needs root or sudo, for the packages only.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh

log=build/quickstart.log
mkdir -p build
: >"$log"

say() { printf '%s\n' "quickstart: $*"; }

fail() {
  say "$*" >&2
  exit 1
}

# Runs a command quietly; if it fails, its last lines are shown.
quietly() {
  local what=$1
  shift
  say "$what"
  if ! "$@" >>"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail "failed: $what (all of it in $log)"
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
  local lines missing
  lines=$(missing_lines deploy/packages-build.txt deploy/packages-demo.txt)
  if [ -z "$lines" ]; then
    say "all packages are there"
    return
  fi
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    fail "these packages are missing, and there is neither root nor sudo to install them: ${lines//$'\n'/, }"
  fi
  # Asks for the password now, not into the log.
  if [ "$(id -u)" != 0 ]; then sudo -v; fi
  quietly "updating the package lists" as_root apt-get update
  mapfile -t missing < <(choose_packages <<<"$lines")
  quietly "installing ${#missing[@]} packages: ${missing[*]}" \
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

command -v dpkg-query >/dev/null ||
  fail "this is for Debian 12 and 13; elsewhere see CONTRIBUTING.md for what to install"
install_packages
quietly "configuring (build/release)" cmake --preset release
quietly "building; this takes a few minutes the first time" cmake --build --preset release --target nbdgw
say "built: build/release/nbdgw"
exec build/release/nbdgw demo "$@"
