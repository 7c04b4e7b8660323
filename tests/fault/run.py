#!/usr/bin/python3
"""The fault table: the embedded target misbehaves in every way it knows, under loads that verify; each row says how far
the gateway climbed, how long it held replies, what clients saw, and what people were told. Exit status 1 if a row is not as it must be."""
import argparse
import concurrent.futures
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from fault import rows, scenario  # noqa: E402
from lib import process, workdir  # noqa: E402

FORM = "{:<36} {:<18} {:>8}  {:<30} {:>6}  {:<4}  {}"


def arguments():
    p = argparse.ArgumentParser(description="Runs the faults of the embedded target and prints what came of them.")
    p.add_argument("--only", action="append", default=[], metavar="PATTERN",
                   help="only rows with this in their names; may be repeated")
    p.add_argument("--list", action="store_true", help="print the names and end")
    p.add_argument("--jobs", type=int, default=4,
                   help="rows at a time, each with processes of its own (default: %(default)s)")
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32),
                   help="repeats a run's random choices")
    return p.parse_args()


def line(row, outcome):
    errors = ", ".join(f"{count}x {what}" for what, count in sorted(outcome.errors.items())) or "none"
    return FORM.format(row.name, outcome.rung, f"{outcome.held_ms:.0f}", errors, outcome.verify_errors,
                       "ok" if not outcome.wrong else "FAIL", ", ".join(outcome.told) or "nothing")


def main():
    options = arguments()
    wanted = rows.chosen(options.only)
    if options.list:
        print("\n".join(row.name for row in wanted))
        return 0
    print(f"seed: {options.seed}", flush=True)
    print(FORM.format("fault", "rung reached", "held ms", "errors seen by the client", "verify", "", "told"), flush=True)
    start, failed = time.monotonic(), []
    try:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            running = [(row, pool.submit(scenario.run, row, options.seed)) for row in wanted]
            for row, future in running:
                outcome = future.result()
                print(line(row, outcome), flush=True)
                if outcome.wrong:
                    failed.append((row, outcome))
    finally:
        process.kill_all()
    for row, outcome in failed:
        print(f"\nFAIL {row.name}\n  " + "\n  ".join(outcome.wrong), flush=True)
    if failed:
        workdir.keep()
    print(f"{time.monotonic() - start:.0f} s")
    print(f"{len(wanted) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
