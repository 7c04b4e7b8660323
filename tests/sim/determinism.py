#!/usr/bin/python3
"""The same seed gives the same run of the simulated world: twice, alone and among others, and whoever has compiled it, with
whatever optimisation. Compares the fingerprints of runs. The programs are built before, by

  cmake --preset NAME && cmake --build --preset NAME --target nbdgw-sim

for the presets release, sim-debug (no optimisation) and sim-clang (another compiler). Where there is no clang++-16, that
one is skipped."""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCE = "release"
OTHERS = {"sim-debug": "g++", "sim-clang": "clang++-16"}
RUN_TIMEOUT_S = 900
LINE = re.compile(r"^seed (\d+): ([0-9a-f]{16})$", re.MULTILINE)


def program(preset):
    return ROOT / "build" / preset / "nbdgw-sim"


def fingerprints(path, first, last, ios):
    done = subprocess.run([path, "--seeds", f"{first}-{last}", "--ios", str(ios), "--fingerprints"], capture_output=True,
                          text=True, errors="replace", timeout=RUN_TIMEOUT_S)
    found = dict(LINE.findall(done.stdout))
    if len(found) != last - first + 1:
        sys.exit(f"{path}: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return found


class Judge:
    def __init__(self, expected):
        self.expected = expected
        self.passed = self.failed = self.skipped = 0

    def compare(self, what, found):
        differing = sorted((seed for seed in found if found[seed] != self.expected[seed]), key=int)
        if differing:
            self.failed += 1
            print(f"FAIL {what}: seeds {' '.join(differing)} give other runs", flush=True)
        else:
            self.passed += 1
            print(f"ok   {what}: {len(found)} seeds give the same runs", flush=True)

    def compare_build(self, preset, compiler, seeds, ios):
        if program(preset).exists():
            self.compare(f"preset {preset}", fingerprints(program(preset), 1, seeds, ios))
        elif shutil.which(compiler) is None:
            self.skipped += 1
            print(f"skip preset {preset}: there is no {compiler}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL preset {preset}: {program(preset)} is not built", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="the seeds 1 to this one")
    parser.add_argument("--ios", type=int, default=150, help="requests in a run")
    options = parser.parse_args()
    reference = program(REFERENCE)
    judge = Judge(fingerprints(reference, 1, options.seeds, options.ios))
    judge.compare("once more", fingerprints(reference, 1, options.seeds, options.ios))
    alone = {}
    for seed in range(1, options.seeds + 1):
        alone.update(fingerprints(reference, seed, seed, options.ios))
    judge.compare("each alone", alone)
    for preset, compiler in OTHERS.items():
        judge.compare_build(preset, compiler, options.seeds, options.ios)
    skipped = f", {judge.skipped} skipped" if judge.skipped else ""
    print(f"{judge.passed} passed, {judge.failed} failed{skipped}")
    return 1 if judge.failed else 0


if __name__ == "__main__":
    sys.exit(main())
