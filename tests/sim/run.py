#!/usr/bin/env python3
"""The simulated world, as a whole run of the tests has it: the seeds that once failed, the planted bugs at the seeds that
find them, and new runs. The table at the end says how much was simulated, and which faults struck how often."""
import argparse
import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = pathlib.Path(os.environ.get("NBDGW_SIM", HERE.parents[1] / "build/release/nbdgw-sim"))
FIRST, SEEDS, IOS = 1_000_000, 400, 1000  # fewer seeds than a hunt by hand has, so far from those that people begin with
CHUNK = 100  # seeds that one process runs
CHUNK_TIMEOUT_S = 600
# Each process fills some hundred MiB for the first time: a fifth of its time where pages are small.
ENVIRONMENT = {**os.environ, "NBDGW_SIM": str(PROGRAM), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

SUMMARY = re.compile(r"^(\d+) seeds, (\d+) requests \(([\d.]+) % above 64 KiB\), (\d+) MiB, ([\d.]+) s: \d+ requests a second, "
                     r"(\d+) a second of the processor")
FAULT = re.compile(r"^  ([^:]+): (\d+)$")
FIGURE = re.compile(r"^  at most: ([^:]+): (\S+)$")
FAILURE = re.compile(r"^FAIL seed (\d+)")
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")


@dataclasses.dataclass
class Simulated:
    """What was run, all together."""
    seeds: int = 0
    requests: int = 0
    mebibytes: int = 0
    large: float = 0  # requests above 64 KiB
    seconds: float = 0  # of the processor
    failed: int = 0
    faults: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    figures: dict = dataclasses.field(default_factory=dict)

    def add(self, line):
        if found := SUMMARY.match(line):
            self.seeds += int(found[1])
            self.requests += int(found[2])
            self.large += int(found[2]) * float(found[3]) / 100
            self.mebibytes += int(found[4])
            self.seconds += int(found[2]) / max(int(found[6]), 1)
        elif found := FIGURE.match(line):
            self.figures[found[1]] = max(self.figures.get(found[1], 0), float(found[2]))
        elif found := FAULT.match(line):
            self.faults[found[1]] += int(found[2])
        elif FAILURE.match(line):
            self.failed += 1

    def show(self):
        print(f"{self.seeds} seeds, {self.requests} requests ({100 * self.large / max(self.requests, 1):.1f} % above"
              f" 64 KiB), {self.mebibytes} MiB, {self.requests / max(self.seconds, 0.1):.0f} requests a second of the"
              f" processor")
        for name, count in sorted(self.faults.items()):
            print(f"  {name}: {count}")
        for name, value in sorted(self.figures.items()):
            print(f"  at most: {name}: {value:.3g}")


def simulate(first, last, ios):
    """The lines that a process prints, or several: a crash ends one, and what is left of the seeds is run by the next."""
    lines = []
    while first <= last:
        done = subprocess.run([PROGRAM, "--seeds", f"{first}-{last}", "--ios", str(ios)], env=ENVIRONMENT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=CHUNK_TIMEOUT_S)
        lines += done.stdout.splitlines()
        if done.returncode in (0, 1):
            break
        failures = [int(found[1]) for line in done.stdout.splitlines() if (found := FAILURE.match(line))]
        if not failures:
            lines.append(f"FAIL seed {first}: the program has ended with {done.returncode} before it began")
            break
        first = failures[-1] + 1
    return lines


def run_fresh(first, count, ios, jobs):
    """New runs: 1 failure for each seed that fails, or 1 success."""
    total = Simulated()
    start = time.monotonic()
    last = first + count - 1
    chunks = [(begin, min(begin + CHUNK - 1, last), ios) for begin in range(first, last + 1, CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for lines in pool.map(lambda chunk: simulate(*chunk), chunks):
            for line in lines:
                total.add(line)
            for at, line in enumerate(lines):
                if FAILURE.match(line):  # with what has led to it
                    print(*lines[at:at + 2], *[more for more in lines[at + 2:at + 60] if more.startswith("    ")],
                          sep="\n", flush=True)
    total.show()
    word = "FAIL" if total.failed or not total.seeds else "ok"
    print(f"{word:<4} fresh seeds {first}-{last}: {total.failed} failed ({time.monotonic() - start:.1f} s)", flush=True)
    return (0, max(total.failed, 1), 0) if word == "FAIL" else (1, 0, 0)


def run_counted(what, argv):
    """A program that ends with its counts."""
    start = time.monotonic()
    done = subprocess.run(argv, env=ENVIRONMENT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=CHUNK_TIMEOUT_S)
    lines = done.stdout.splitlines()
    found = COUNTS.match(lines[-1]) if lines else None
    passed, failed, skipped = (int(n or 0) for n in found.groups()) if found else (0, 1, 0)
    if done.returncode != 0 or failed:
        failed = max(failed, 1)
        print(done.stdout[-8000:])
    print(f"{'FAIL' if failed else 'ok':<4} {what}: {passed} passed, {failed} failed"
          f" ({time.monotonic() - start:.1f} s)", flush=True)
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=int(os.environ.get("NBDGW_SEED", FIRST)),
                        help="the first of the new seeds")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many new ones")
    parser.add_argument("--ios", type=int, default=IOS, help="requests in each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--fresh-only", action="store_true", help="nothing but the new seeds")
    arguments = parser.parse_args()
    results = []
    if not arguments.fresh_only:
        results.append(run_counted("seeds that once failed", [PROGRAM, "--kept", HERE / "seeds.txt"]))
        results.append(run_counted("planted bugs", [HERE / "mutants.sh", "--quick"]))
    results.append(run_fresh(arguments.first, arguments.seeds, arguments.ios, arguments.jobs))
    passed, failed, skipped = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
