# Sourced by deploy/quickstart.sh and tests/run.sh: what is still to be installed of our lists of packages, which have
# one a line, or alternatives as Debian writes them: `a | b`.
# shellcheck shell=bash

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

is_offered() {
  local policy
  policy=$(LC_ALL=C apt-cache policy "$1")
  [[ $policy = *"Candidate: "[!\(]* ]]
}

# Lines of these files of which nothing is installed. Asks dpkg only: a fresh system has no lists of packages yet.
missing_lines() {
  local line name names
  sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@" | while read -r line; do
    IFS='| ' read -r -a names <<<"$line"
    for name in "${names[@]}"; do
      if is_installed "$name"; then continue 2; fi
    done
    printf '%s\n' "$line"
  done
}

# For each line on standard input the first of its packages that this system offers. Where it offers none, that is for
# apt-get to say of the first. Needs the lists of packages (apt-get update).
choose_packages() {
  local line name names
  while read -r line; do
    IFS='| ' read -r -a names <<<"$line"
    for name in "${names[@]}" "${names[0]}"; do
      if is_offered "$name"; then break; fi
    done
    printf '%s\n' "$name"
  done
}
