#!/usr/bin/python3
"""Builds, runs every kind of test, and counts. tests/run.sh calls it when the packages are there."""
import argparse
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import lanes, schedule  # noqa: E402

BUDGET_MIN = 65  # for all there will be, where two cores are slow; CI cuts a run at 90
LONGEST = 10


def run_lanes(wanted):
    """Runs these lanes side by side, and says last where the time went."""
    start = time.monotonic()
    done = schedule.Schedule(wanted).run()
    counts = lanes.Counts()
    for lane in done:
        counts.add(lane.lane.name, lane.passed, lane.failed, lane.skipped)
    counts.troubles = [trouble for lane in done for trouble in lane.troubles]
    where_the_time_went(done, (time.monotonic() - start) / 60)
    return counts


def where_the_time_went(done, minutes):
    print(f"\n{'lane':<16}{'minutes':>9}{'CPU min':>9}{'budget':>9}")
    for lane in sorted(done, key=lambda lane: lanes.LANES.index(lane.lane)):
        late = "  above its budget by half" if lane.minutes > 1.5 * lane.lane.budget_min else ""
        print(f"{lane.lane.name:<16}{lane.minutes:>9.1f}{lane.cpu_minutes:>9.1f}{lane.lane.budget_min:>9.1f}{late}")
    late = "  above its budget by half" if minutes > 1.5 * BUDGET_MIN else ""
    print(f"{'all':<16}{minutes:>9.1f}{sum(lane.cpu_minutes for lane in done):>9.1f}{BUDGET_MIN:>9.1f}{late}")
    print("(lanes run side by side; compiling takes what the tests leave, so it takes longer than alone)")
    print(f"\nthe {LONGEST} longest tests:")
    for seconds, name in sorted((test for lane in done for test in lane.tests), reverse=True)[:LONGEST]:
        print(f"{seconds:>8.1f} s  {name}")


def quick(counts):
    lanes.check_format(counts)
    lanes.lane("dashboards").run(counts)
    build_then(counts, lambda: lanes.run_unit("release", counts))


def build_then(counts, what):
    print("building", flush=True)
    lanes.build("release", [], counts)
    if counts.failed == 0:
        what()


def only(pattern, counts):
    def run():
        lanes.run_unit("release", counts, lambda name: pattern in name)
        listed = subprocess.run([*lanes.INTEROP, "--list", "--only", pattern], capture_output=True, text=True,
                                check=True).stdout
        if listed.strip():
            lanes.run_interop("release", counts, [pattern])
        for name in ("deploy", "vm"):
            if pattern in name:
                lanes.lane(name).run(counts)
    build_then(counts, run)


def main():
    parser = argparse.ArgumentParser(prog="tests/run.sh", description="Builds and runs the tests of nbdgw.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true",
                        help="the unit tests, release build only, and the dashboards")
    choice.add_argument("--only", metavar="PATTERN", help="tests whose name contains this, release build only")
    choice.add_argument("--lane", metavar="NAME", choices=[lane.name for lane in lanes.LANES],
                        help="one lane of the whole run, whose build is there: %(choices)s")
    options = parser.parse_args()
    counts = lanes.Counts()
    start = time.monotonic()
    if options.lane:
        lanes.lane(options.lane).run(counts)
    elif options.only:
        only(options.only, counts)
    elif options.quick:
        quick(counts)
    else:
        counts = run_lanes(lanes.LANES)
    if not options.lane:
        print(f"\n== done in {(time.monotonic() - start) / 60:.1f} minutes")
    for trouble in counts.troubles:
        print(trouble)
    print(counts.line())
    # A lane that this machine cannot run says so, and that is all that it has to do.
    ran = counts.passed > 0 or (options.lane and (counts.skipped > 0 or lanes.lane(options.lane).builds))
    return 0 if counts.failed == 0 and ran else 1


if __name__ == "__main__":
    sys.exit(main())
