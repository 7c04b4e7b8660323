#!/usr/bin/python3
"""How fast the gateway recovers, against the goals that are written beside each number: a dropped connection, a
command that must be aborted, the neighbours of a LUN that is in trouble. For a person to read; nothing passes or fails
by it."""
import argparse
import pathlib
import statistics
import sys
import time

import nbd

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib import clients, gateway, process, recovery_log, targets, tcp_proxy, unaligned  # noqa: E402

MIB = 1 << 20
BLOCK = 4096
LUN_SIZE = 256 * MIB
# Everything but what is measured stays out of the way.
QUIET = {"command": "60s", "abort": "60s", "lu_reset": "60s", "target_reset": "60s", "nop_interval": "5s",
         "nop_timeout": "5s", "login": "15s", "logout": "2s", "replacement": "120s"}
COMMAND_S, PING_S = 1, 1
LIVED_S = 1  # a session that is lost sooner comes back with a pause
ABORT_TASK = 1


def arguments():
    p = argparse.ArgumentParser(description="Measures the gateway's recovery.")
    p.add_argument("--drops", type=int, default=20, help="connections dropped (default: %(default)s)")
    p.add_argument("--aborts", type=int, default=10, help="commands aborted (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=20, help="rounds of the neighbour's load (default: %(default)s)")
    p.add_argument("--seconds", type=float, default=1, help="of each round (default: %(default)s)")
    return p.parse_args()


def served(target, luns=(1,), timeouts=None, **options):
    return gateway.Gateway({"array": target}, {f"vol{lun}": ("array", lun) for lun in luns},
                           target_options={"timeouts": {**QUIET, **(timeouts or {})}, **options})


def show(what, unit, samples, goal):
    print(f"{what:<58} median {statistics.median(samples):7.1f} {unit}, worst {max(samples):7.1f} {unit}; {goal}",
          flush=True)


def next_reply_ms(handle, trouble):
    """From the trouble to the answer to the request after it."""
    handle.pread(BLOCK, 0)
    start = time.monotonic()
    trouble()
    handle.pread(BLOCK, 0)
    return (time.monotonic() - start) * 1000


def writes_done_ms(handle, trouble):
    """From the trouble to the answers of writes that were under way."""
    left = [8]

    def done(_error):
        left[0] -= 1
        return 1

    data = nbd.Buffer.from_bytearray(bytearray(MIB))
    for number in range(left[0]):
        handle.aio_pwrite(data, number * MIB, completion=done)
    start = time.monotonic()
    trouble()
    while left[0] > 0:
        handle.poll(-1)
    return (time.monotonic() - start) * 1000


def all_joined(proxy, server):
    server.child.wait_until(lambda: len(proxy.ids()) == 4, "connected four times")


def drops(count):
    """tgtd, and the connection cut by the tests' proxy: neither end is ours."""
    with targets.Tgt({1: targets.Lun(LUN_SIZE)}) as target, tcp_proxy.TcpProxy(target) as proxy, \
            served(proxy) as server:
        handle = unaligned.connect(server.uri("vol1"))
        def one():
            proxy.cut(proxy.ids()[-1])

        for cut, measure, name, goal in (
                (one, next_reply_ms, "one connection dropped: I/O flows again after", "goal 300 ms"),
                (proxy.cut, next_reply_ms, "all four connections dropped: I/O flows again after", "goal 300 ms"),
                (one, writes_done_ms, "one dropped with 8 MiB of writes under way: all written after", "goal 15 ms")):
            samples = []
            for _ in range(count):
                all_joined(proxy, server)
                time.sleep(LIVED_S)
                samples.append(measure(handle, cut))
            show(name, "ms", samples, goal)
        handle.shutdown()
        server.stop()


def aborts(count):
    """A read that the target swallows: it is answered as soon as the abort has left, was answered, and the read was
    sent again. What goes beyond the deadline is an upper bound of how late the abort was."""
    for pings, deadline_s in ((False, COMMAND_S), (True, COMMAND_S)):
        timeouts = {"command": f"{COMMAND_S}s", "nop_timeout": f"{PING_S}s", "nop_interval": "5s" if pings else "0s"}
        with targets.Embedded({1: targets.Lun(LUN_SIZE)}, control=True) as target, \
                served(target, timeouts=timeouts) as server:
            handle = unaligned.connect(server.uri("vol1"))
            samples = []
            for _ in range(count):
                target.faults.post("hang_task", opcode="read", count=1)
                start = time.monotonic()
                handle.pread(BLOCK, 0)
                samples.append((time.monotonic() - start - deadline_s) * 1000)
            handle.shutdown()
            server.stop()
        show(f"abort, {'after a ping' if pings else 'pings off'}: read done after its deadline plus", "ms", samples,
             "goal 50 ms")


def neighbour(rounds, seconds):
    """Random reads on LUN 2, through two gateways in turn: one at peace, and one that waits for the answer to an abort
    for LUN 1 all the time. What else the machine does hits both."""
    timeouts = {"command": f"{COMMAND_S}s", "nop_interval": "0s", "abort": "600s"}
    with _two_luns() as calm_target, served(calm_target, (1, 2)) as calm, _two_luns() as target, \
            served(target, (1, 2), timeouts) as climbing:
        handle = unaligned.connect(climbing.uri("vol1"))
        target.faults.post("hang_task", lun=1, opcode="read", count=1)
        target.faults.post("hang_tmf", function=ABORT_TASK)
        handle.aio_pread(nbd.Buffer(BLOCK), 0)
        climbing.child.wait_until(lambda: recovery_log.highest(climbing.child.log()) == "timeout", "climbing")
        pairs = [(_reads(calm, seconds), _reads(climbing, seconds)) for _ in range(rounds)]
        if recovery_log.highest(climbing.child.log()) != "timeout":
            sys.exit("the abort was over before the measurement was")
        climbing.child.kill()
    ratios = [100 * during / alone for alone, during in pairs]
    print(f"{'LUN 2 while an abort for LUN 1 is under way: throughput':<58} median {statistics.median(ratios):7.1f} %;"
          f" goal above 90 % ({statistics.median(alone for alone, _ in pairs):,.0f} IOPS alone)", flush=True)


def _two_luns():
    return targets.Embedded({number: targets.Lun(LUN_SIZE) for number in (1, 2)}, control=True)


def _reads(server, seconds):
    return clients.Fio(server.uri("vol2"), rw="randread", bs="4k", iodepth=32, time_based=True, runtime=seconds,
                       size="100%", randrepeat=0, norandommap=True).run()["read"]["iops"]


def main():
    options = arguments()
    try:
        drops(options.drops)
        aborts(options.aborts)
        neighbour(options.rounds, options.seconds)
    finally:
        process.kill_all()


if __name__ == "__main__":
    main()
