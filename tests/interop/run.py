#!/usr/bin/python3
"""Runs the interoperability tests: prints each test with its time, and last the counts.

NBDGW_BIN: the gateway to test (default build/release/nbdgw). NBDGW_SERVER=qemu-nbd: qemu-nbd in its place.
NBDGW_SEED: repeats a run's random choices. NBDGW_KEEP: keeps logs and disks. NBDGW_RECOVERY_S: how long connections are
cut under load (default 60)."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import base  # noqa: E402
from lib import case  # noqa: E402

if __name__ == "__main__":
    sys.exit(case.run(HERE, f"server: {base.SERVER}", case.parser(__doc__).parse_args()))
