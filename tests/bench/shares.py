#!/usr/bin/python3
"""A newcomer's 4 KiB READ beside stalled, dead and greedy clients, and without them, in turn: the same export, another
export of the same worker. Against the goals that are written beside each number, for a person to read; nothing passes
or fails by it."""
import argparse
import contextlib
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib import gateway, greedy, process, targets  # noqa: E402
from lib import nbdwire as n  # noqa: E402

MIB = 1 << 20
LUN_SIZE = 128 * MIB
SMALL = 4096
LATEST_S = 1  # no READ may take longer
TIMES = 3  # nor the median of those beside others so many times that of those alone
SETTLE_S = 1  # until the others hold what they can


def arguments():
    p = argparse.ArgumentParser(description="Measures what a newcomer notices of clients that want all.")
    p.add_argument("--rounds", type=int, default=5, help="pairs of runs (default: %(default)s)")
    p.add_argument("--newcomers", type=int, default=50, help="of each run and export (default: %(default)s)")
    p.add_argument("--busy", type=int, default=1,
                   help="honest clients at 1 MiB and depth 64; they take processor time, too (default: %(default)s)")
    return p.parse_args()


def others(server, busy):
    """Dead: headers and halves of WRITEs, and stopped processes. Stalled: they do not read what they have asked for.
    Greedy: honest, but many requests at a time."""
    return ([greedy.Announcer(server, sent=sent) for sent in (0, 0, 16 * MIB, 16 * MIB)]
            + [greedy.NonReader(server, depth=256, size=40 << 10) for _ in range(4)]
            + [greedy.Stopped(server) for _ in range(2)]
            + [greedy.Busy(server) for _ in range(busy)])


def newcomer_ms(server, export):
    """Its first READ, from when it is attached; None: no answer in time."""
    try:
        with greedy.attach(server, export, timeout_s=LATEST_S) as wire:
            begin = time.monotonic()
            error = wire.ask(n.READ, 64 * MIB, SMALL)[0]
            if error:
                raise RuntimeError(f"a READ failed: {error}")
            return (time.monotonic() - begin) * 1000
    except TimeoutError:
        return None


def newcomers(server, count, samples):
    for _ in range(count):
        for export, times in samples.items():
            times.append(newcomer_ms(server, export))


def compare(server, options):
    alone, beside = ({"vol0": [], "vol1": []} for _ in range(2))
    newcomers(server, options.newcomers, {"vol0": [], "vol1": []})  # first touches
    for _ in range(options.rounds):
        newcomers(server, options.newcomers, alone)
        with contextlib.ExitStack() as stack:
            for client in others(server, options.busy):
                stack.enter_context(client)
            time.sleep(SETTLE_S)
            newcomers(server, options.newcomers, beside)
    return alone, beside


def show(name, alone, beside):
    late = beside.count(None)
    answered = [ms for ms in beside if ms is not None]
    print(f"{name}: {late} of {len(beside)} READs not answered within {LATEST_S} s (goal: none)")
    if not answered:
        return
    before, after = statistics.median(alone), statistics.median(answered)
    print(f"  median alone {before:.2f} ms, beside the others {after:.2f} ms: {after / before:.2f} times (goal: {TIMES} "
          f"at most); longest {max(answered):.1f} ms")


def main():
    options = arguments()
    try:
        target = targets.Embedded({1: targets.Lun(LUN_SIZE), 2: targets.Lun(LUN_SIZE)})
        with target, gateway.Gateway({"array": target}, {"vol0": ("array", 1), "vol1": ("array", 2)},
                                     extra={"workers": 1}) as server:
            alone, beside = compare(server, options)
            server.stop()
    finally:
        process.kill_all()
    show("the export that all want", alone["vol0"], beside["vol0"])
    show("another export of the same worker", alone["vol1"], beside["vol1"])


if __name__ == "__main__":
    main()
