#!/usr/bin/env bash
# Runs every test that this machine can run, on a fresh Debian 12 or 13 too: installs what is missing, builds, tests.
# The last line counts: "N passed, N failed" (and "N skipped", if any). Exit status 1 if anything failed or nothing ran.
#
#   tests/run.sh                  everything
#   tests/run.sh --quick          the unit tests, release build only, and the dashboards
#   tests/run.sh --only PATTERN   tests whose name contains PATTERN
#   tests/run.sh --lane NAME      one lane of the whole run, with what is built already
#
# Needs root or sudo: for the packages, and because tgtd keeps its control socket in /run.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing_of_ours() {
  missing_lines deploy/packages-build.txt tests/packages.txt
  # Where Node.js came in another way than Debian's, that one is good enough.
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

policy=/usr/sbin/policy-rc.d
policy_is_ours=

remove_policy() {
  if [ -n "$policy_is_ours" ]; then as_root rm -f "$policy"; fi
  policy_is_ours=
}

install_packages() {
  local lines missing daemon
  lines=$(missing_of_ours)
  if [ -z "$lines" ]; then return; fi
  # tgt, istgt, haproxy and prometheus start daemons when they are installed, and at every boot. The tests run their
  # own; so these neither start now nor later, unless they were there before.
  if [ ! -e "$policy" ]; then
    policy_is_ours=yes
    trap remove_policy EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root apt-get update -q
  mapfile -t missing < <(choose_packages <<<"$lines")
  echo "installing ${#missing[@]} packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  remove_policy
  for daemon in tgt istgt haproxy prometheus; do
    if printf '%s\n' "${missing[@]}" | grep -qx "$daemon" && command -v systemctl >/dev/null; then
      as_root systemctl disable -q "$daemon" || true
    fi
  done
}

case " $* " in *" --help "* | *" -h "*) ;; *)
  if ! command -v dpkg-query >/dev/null; then
    echo "this is for Debian 12 and 13; see CONTRIBUTING.md for other systems" >&2
    exit 1
  fi
  install_packages
esac
export PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 tests/lib/run_all.py "$@"
