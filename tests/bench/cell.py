"""One cell of the table: one load on one server for a few seconds, seen from the client and from the server's CPU."""
import os
import shutil
import signal
import subprocess
import tempfile

from lib import clients, counters, workdir

SYSCALL_RUN_S = 1


def _fio(server, row, seconds, jobs):
    depth = max(1, row.depth // jobs)
    return clients.Fio(server.uri(), jobs=jobs, rw=row.rw, bs=row.block, iodepth=depth, time_based=True,
                       runtime=seconds, randrepeat=0, norandommap=True, percentile_list="50:99",
                       offset_increment=f"{100 // jobs}%" if jobs > 1 else "0",
                       size=f"{100 // jobs}%")


def _side(result, row):
    return result["read" if "read" in row.rw else "write"]


def warm_up(server, size):
    """Writes the whole disk once, so that no cell pays for first touches (the relay's memory disk is sparse)."""
    clients.Fio(server.uri(), rw="write", bs="1m", iodepth=8, size=size).run()


def measure(server, row, seconds, jobs):
    before = counters.cpu_ns(server.pid)
    side = _side(_fio(server, row, seconds, jobs).run(), row)
    cpu = counters.cpu_ns(server.pid) - before
    percentile = side["clat_ns"]["percentile"]
    return {
        "iops": side["iops"],
        "mb_s": side["bw_bytes"] / 1e6,
        "p50_us": percentile["50.000000"] / 1e3,
        "p99_us": percentile["99.000000"] / 1e3,
        "cpu_us": cpu / 1e3 / side["total_ios"],
    }


def system_calls(server, row, jobs):
    """System calls of the server per request, and how they were counted: (number, tool), or None if nothing can.
    perf's tracepoint does not slow the server; strace does, so that more gets batched than in a real run."""
    if _perf_works():
        return _count(server, row, jobs, "perf", ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p",
                                                  server.pid, "-o"], _perf_total)
    if shutil.which("strace"):
        return _count(server, row, jobs, "strace", ["strace", "-c", "-f", "-p", server.pid, "-o"], _strace_total)
    return None


def _count(server, row, jobs, tool, argv, total_of):
    out = tempfile.mkstemp(prefix="syscalls-", dir=workdir.root())[1]
    tracer = subprocess.Popen([*map(str, argv), out], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        side = _side(_fio(server, row, SYSCALL_RUN_S, jobs).run(), row)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    with open(out) as f:
        total = total_of(f.read())
    os.unlink(out)
    return {"per_request": total / side["total_ios"], "tool": tool}


def _perf_works():
    if not shutil.which("perf"):
        return False
    return subprocess.run(["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"], capture_output=True).returncode == 0


def _perf_total(text):
    return next(int(line.split(",")[0]) for line in text.splitlines() if "raw_syscalls:sys_enter" in line)


def _strace_total(text):
    return next(int(line.split()[-2] if line.split()[-2].isdigit() else line.split()[-3])
                for line in text.splitlines() if line.endswith(" total"))
