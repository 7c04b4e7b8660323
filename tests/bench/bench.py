#!/usr/bin/python3
"""The benchmark: nbdgw and qemu-nbd in front of the same tgt LUN, and a TCP relay in front of a memory disk as the
floor. Every round runs each row on each server in turn (A B C A B C), so that what else the machine does hits all of
them; medians over the rounds, and ratios of medians."""
import argparse
import datetime
import json
import pathlib
import platform
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench import cell, report, rows  # noqa: E402
from lib import gateway, process, servers, targets, workdir  # noqa: E402

MIB = 1 << 20
# What a target in production would offer; tgtd's own defaults (8 KiB segments) would measure tgtd, not the servers.
TGT_PARAMS = {"MaxRecvDataSegmentLength": 262144, "MaxXmitDataSegmentLength": 262144, "FirstBurstLength": 262144,
              "MaxBurstLength": 1048576, "InitialR2T": "No", "ImmediateData": "Yes"}


def arguments():
    p = argparse.ArgumentParser(description="Compares nbdgw with qemu-nbd on the same tgt LUN and with a TCP relay.")
    p.add_argument("--rows", default="", help="comma-separated parts of row names, e.g. 'randread,1m' (default: all)")
    p.add_argument("--servers", default="nbdgw,qemu-nbd,relay", help="which servers (default: %(default)s)")
    p.add_argument("--seconds", type=float, default=3, help="per cell and round (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    p.add_argument("--clients", type=int, default=1, help="NBD connections that share the depth (default: %(default)s)")
    p.add_argument("--connections", type=int, default=4, help="nbdgw's iSCSI connections (default: %(default)s)")
    p.add_argument("--lun-mib", type=int, default=1024, help="size of the LUN (default: %(default)s)")
    p.add_argument("--no-syscalls", action="store_true", help="leave out the runs that count system calls")
    p.add_argument("--json", type=pathlib.Path, help="where the JSON goes (default: tests/bench/results/DATE.json)")
    return p.parse_args()


def check_programs(options):
    """What the run needs must be there before it starts."""
    needed = {"fio", "tgtd", "tgtadm"}
    needed |= {"qemu-nbd"} if "qemu-nbd" in options.servers else set()
    needed |= {"haproxy", "nbdkit"} if "relay" in options.servers else set()
    missing = sorted(name for name in needed if not shutil.which(name))
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; install the packages of tests/packages.txt, or run "
                 "tests/run.sh --quick, which does")


def chosen_servers(names, target, options):
    made = []
    for name in names.split(","):
        if name == "nbdgw":
            if not servers.gateway_binary().exists():
                print(f"no {servers.gateway_binary()}: left out (cmake --preset release && cmake --build --preset "
                      "release)", file=sys.stderr)
                continue
            made.append(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, options.connections))
        elif name == "qemu-nbd":
            made.append(servers.QemuNbd(target))
        elif name == "relay":
            made.append(servers.Relay(options.lun_mib * MIB))
        else:
            sys.exit(f"unknown server '{name}': nbdgw, qemu-nbd or relay")
    return made


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    cores = sum(1 for line in open("/proc/cpuinfo") if line.startswith("processor"))
    return {"model": model, "cores": cores, "kernel": platform.release(),
            "date": datetime.date.today().isoformat()}


def progress(text):
    """One line that overwrites itself, for a person who waits; nothing when the output goes to a file."""
    if sys.stderr.isatty():
        print(f"{text:<70}", end="\r", file=sys.stderr, flush=True)


def measure(options, wanted, running):
    samples = {}
    for server in running:
        cell.warm_up(server, options.lun_mib * MIB)
    for number in range(options.rounds):
        for row in wanted:
            for server in running:
                progress(f"round {number + 1}/{options.rounds}  {row.name:<22} {server.name}")
                sample = cell.measure(server, row, options.seconds, options.clients)
                samples.setdefault((row.name, server.name), []).append(sample)
    syscalls = {}
    if not options.no_syscalls:
        for row in wanted:
            for server in running:
                syscalls[row.name, server.name] = cell.system_calls(server, row, options.clients)
    progress("")
    return samples, syscalls


def main():
    options = arguments()
    check_programs(options)
    wanted = rows.chosen(options.rows)
    image = workdir.in_memory("bench") / "lun.img"
    workdir.random_file(image, options.lun_mib * MIB)
    lun = targets.Lun(size=options.lun_mib * MIB, path=image)
    running = []
    try:
        with targets.Tgt({1: lun}, max_connections=max(4, options.connections), params=TGT_PARAMS) as target:
            for server in chosen_servers(options.servers, target, options):
                running.append(server)
                server.start()
            samples, syscalls = measure(options, wanted, running)
            names = [server.name for server in running]
    except process.ChildError as error:
        workdir.keep()
        sys.exit(str(error))
    finally:
        process.kill_all()
    result = report.summary(machine(), vars(options), wanted, names, samples, syscalls)
    print(report.markdown(result))
    path = options.json or HERE / "results" / (datetime.datetime.now().strftime("%Y%m%d-%H%M%S") + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, default=str) + "\n")
    print(f"\nJSON: {path}")


if __name__ == "__main__":
    main()
