#!/usr/bin/env bash
# complete.bash COMPLETION WORD...: what the completion offers for the last word, one a line, as an interactive bash would
# call it: the words cut at the characters that separate words there.
set -eu
completion=$1
shift
# shellcheck disable=SC1091
source /usr/share/bash-completion/bash_completion
# shellcheck disable=SC1090
source "$completion"

COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
COMP_WORDS=()
for word in "$@"; do
  if [ -z "$word" ]; then COMP_WORDS+=(''); fi
  while [[ -n $word ]]; do
    [[ $word =~ ^([=:]+|[^=:]+) ]]
    COMP_WORDS+=("${BASH_REMATCH[1]}")
    word=${word:${#BASH_REMATCH[1]}}
  done
done
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE=$*
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9
COMP_KEY=9
COMPREPLY=()
set +eu
_nbdgw nbdgw "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
if [ ${#COMPREPLY[@]} -gt 0 ]; then printf '%s\n' "${COMPREPLY[@]}"; fi
