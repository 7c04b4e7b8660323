#!/usr/bin/env bash
# Builds the images of deploy/container/Dockerfile with buildah on a Debian 12 made here, and tries what is in them as a
# container would: no registry, no daemon. The last line counts.
#
#   tests/container/run.sh          the program is the release build; the stage that compiles is checked, not run
#   tests/container/run.sh --full   that stage, too: all of the Dockerfile as it is; on another Debian always
#
# Needs root, buildah, mmdebstrap and apt's servers.
set -euo pipefail
cd "$(dirname "$0")"
if [ "${1-}" = --full ]; then
  export NBDGW_CONTAINER_FULL=1
  shift
fi
exec /usr/bin/python3 run.py "$@"
