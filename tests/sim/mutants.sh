#!/bin/bash
# Plants each bug of proto/mutant_list.hpp in the gateway, and looks for the first seed at which the simulated world
# finds it. Prints the table (mutant, seed, checker), and keeps what it has found in tests/sim/mutants.txt.
#
# Usage: mutants.sh [--quick] [--seeds N] [--ios N] [--jobs N] [MUTANT...]
#   --quick   reruns the seeds that are kept, and nothing else; one at which nothing is found any more is a failure
# NBDGW_SIM: the program; default build/release/nbdgw-sim
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export NBDGW_SIM=${NBDGW_SIM:-$here/../../build/release/nbdgw-sim}
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
kept=$here/mutants.txt
export SEEDS=2000 IOS=1000
jobs=$(nproc)
mode=hunt
names=()
while (($# > 0)); do
  case $1 in
    --quick) mode=rerun ;;
    --seeds) SEEDS=$2 && shift ;;
    --ios) IOS=$2 && shift ;;
    --jobs) jobs=$2 && shift ;;
    -*) echo "mutants.sh: no such option: $1" >&2 && exit 2 ;;
    *) names+=("$1") ;;
  esac
  shift
done

# SEED CHECKER of the first failure of a call of the simulator; nothing: there was none.
failure() {
  { timeout 3000 "$NBDGW_SIM" --ios "$IOS" "$@" 2>/dev/null || true; } |
    sed -n 's/^FAIL seed \([0-9]*\), commit [^:]*: checker \([^:]*\):.*/\1 \2/p' | head -n 1
}

# A seed at which the world fails without the bug, too, has not found it.
hunt() {
  local first=1 seed checker
  while read -r seed checker < <(failure --mutant "$1" --seeds "$first-$SEEDS" --until-found); do
    [[ -z $(failure --seed "$seed") ]] && echo "$1 $seed $checker" && return
    first=$((seed + 1))
  done
  echo "$1 - NOT FOUND"
}

rerun() {
  local seed checker
  read -r seed checker <<<"$2"
  read -r seed checker < <(failure --mutant "$1" --seed "$seed") && echo "$1 $seed $checker" || echo "$1 - NOT FOUND"
}
export -f failure hunt rerun

all=$("$NBDGW_SIM" --mutants | cut -d' ' -f1)
((${#names[@]} > 0)) || mapfile -t names <<<"$all"
for name in "${names[@]}"; do
  grep -qx "$name" <<<"$all" || { echo "mutants.sh: no such mutant: $name" >&2 && exit 2; }
done
touch "$kept"
seed_of() { sed -n "s/^$1 //p" "$kept"; }

if [[ $mode == rerun ]]; then
  IOS=$(sed -n 's/^# ios //p' "$kept")
  calls=$(for name in "${names[@]}"; do
    if [[ -n $(seed_of "$name") ]]; then printf '%s\0%s\0' "$name" "$(seed_of "$name")"; fi
  done | xargs -0 -r -n 2 -P "$jobs" bash -c 'rerun "$@"' rerun)
else
  calls=$(printf '%s\0' "${names[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'hunt "$@"' hunt)
fi
result_of() { sed -n "s/^$1 //p" <<<"$calls"; }

found=0 lost=0
for name in "${names[@]}"; do
  [[ -n $(result_of "$name") ]] || continue
  read -r seed checker <<<"$(result_of "$name")"
  printf '%-32s %6s  %s\n' "$name" "$seed" "$checker"
  if [[ $seed == - ]]; then lost=$((lost + 1)); else found=$((found + 1)); fi
done

if [[ $mode == hunt ]]; then
  {
    echo "# Which seed finds which planted bug, and the checker that complains; written by tests/sim/mutants.sh."
    echo "# ios $IOS"
    while read -r name; do
      line=$(result_of "$name")
      [[ -n $line ]] || line=$(seed_of "$name")
      [[ -z $line || $line == -* ]] || echo "$name $line"
    done <<<"$all"
  } >"$kept.new"
  mv "$kept.new" "$kept"
fi
echo "$found passed, $lost failed"
((lost == 0))
