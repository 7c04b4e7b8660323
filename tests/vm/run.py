#!/usr/bin/python3
"""Runs the tests that need a kernel of their own, in a qemu guest: prints each test with its time, and last the counts.

--shell: no tests, but a shell in such a guest. NBDGW_BIN: the gateway to test (default build/release/nbdgw). NBDGW_SEED:
repeats a run's random choices. NBDGW_KEEP: keeps logs and disks. CI=true: a missing tool is a failure."""
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import guest  # noqa: E402
import image  # noqa: E402
from lib import case  # noqa: E402


def main():
    parser = case.parser(__doc__)
    parser.add_argument("--shell", action="store_true", help="a shell in a guest, on this terminal; Ctrl-A X ends it")
    arguments = parser.parse_args()
    missing = image.missing_tools()
    if missing and not arguments.list:
        print(f"not installed: {', '.join(missing)} (tests/packages.txt names the packages)")
        print("0 passed, 1 failed" if os.environ.get("CI") == "true" else "0 passed, 0 failed, 1 skipped")
        return 1 if os.environ.get("CI") == "true" else 0
    if arguments.shell:
        return guest.shell()
    return case.run(HERE, "kernel in a guest", arguments)


if __name__ == "__main__":
    sys.exit(main())
