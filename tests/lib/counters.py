"""Counters of a running process from /proc and the kernel's clocks."""
import time


def cpu_ns(pid):
    """CPU time of all threads of a process, living and dead, in nanoseconds (the process's CPU clock)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def _status_field(pid, field):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise KeyError(field)


def rss_bytes(pid):
    return _status_field(pid, "VmRSS") * 1024


def peak_rss_bytes(pid):
    """Highest resident size since the start or since reset_peak_rss()."""
    return _status_field(pid, "VmHWM") * 1024


def reset_peak_rss(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as f:
        f.write("5")


def threads(pid):
    return _status_field(pid, "Threads")
