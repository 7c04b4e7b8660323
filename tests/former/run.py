#!/usr/bin/python3
"""Restarts between the program of the release before and this one, both ways: builds that program, and runs the tests.

NBDGW_FORMER: it is there already. NBDGW_BIN: this one (default build/release/nbdgw). NBDGW_SEED, NBDGW_KEEP: as ever."""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]
from lib import case  # noqa: E402

COMMIT = (HERE / "release.txt").read_text().split()[0]
FOLDER = ROOT / "build/former" / COMMIT
TIMEOUT_S = 1800


def build():
    """The program of that commit, made once."""
    program = FOLDER / "build/release/nbdgw"
    if program.exists():
        return program
    FOLDER.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", FOLDER], input=archive, check=True)
    for words in (["cmake", "--preset", "release", "-D", "NBDGW_TESTS=OFF"],
                  ["cmake", "--build", "build/release", "--target", "nbdgw"]):
        done = subprocess.run(words, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            print(done.stdout[-4000:], flush=True)
            raise SystemExit(f"the program of {COMMIT} cannot be built\n0 passed, 1 failed")
    return program


def main():
    arguments = case.parser(__doc__).parse_args()
    if not arguments.list:
        os.environ.setdefault("NBDGW_FORMER", str(build()))
    return case.run(HERE, "restarts from and to the release before", arguments)


if __name__ == "__main__":
    sys.exit(main())
