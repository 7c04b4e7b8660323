"""Runs lanes side by side, each in a process of its own: what waits beside what computes, and compiling in the gaps."""
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time

from . import lanes

TEST_LANES = 2  # at a time, beside the one that compiles
TIMED = re.compile(r"^(?:ok|FAIL)\s+(.*?):? ?(?:\d+ passed, \d+ failed )?\((\d+\.\d) s\)")
RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run_all.py")


@dataclasses.dataclass
class Done:
    """What a lane came to."""
    lane: lanes.Lane
    minutes: float
    cpu_minutes: float
    passed: int
    failed: int
    skipped: int
    troubles: list
    tests: list  # (seconds, name)


def give_way():
    """In the child, before it begins: it gets the processor time that nobody else wants."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        # Where the system shares the processor between sessions first, this one's share has to be small, too.
        with open("/proc/self/autogroup", "w") as group:
            group.write("19")
    except OSError:
        os.nice(19)


class Schedule:
    def __init__(self, wanted):
        self.waiting = list(wanted)  # in this order, as far as they may
        self.names = {lane.name for lane in wanted}
        self.running = {}
        self.done = []
        self.change = threading.Condition()

    def run(self):
        """Runs all of them; returns what each came to, in the order of their ends."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            with self.change:
                while self.waiting or self.running:
                    for lane in list(self.waiting):
                        if self._may_begin(lane):
                            self._begin(lane)
                        elif lane.alone and self._is_built(lane):
                            break  # or there would always be something beside it
                    if self.running:
                        self.change.wait()
        finally:
            for process in self.running.values():
                os.killpg(process.pid, signal.SIGTERM)
        return self.done

    def _is_built(self, lane):
        return lane.after not in self.names or any(done.lane.name == lane.after for done in self.done)

    def _may_begin(self, lane):
        if not self._is_built(lane):
            return False
        beside = [other for other in self.running if other.builds == lane.builds]
        if lane.builds or lane.alone or any(other.alone for other in beside):
            return not beside
        return len(beside) < TEST_LANES

    def _begin(self, lane):
        self.waiting.remove(lane)
        failed = next((done for done in self.done if done.lane.name == lane.after and done.failed), None)
        if failed:
            print(f"\n== {lane.name}: left out, as {lane.after} failed", flush=True)
            return
        print(f"-- {lane.name} begins", flush=True)
        process = subprocess.Popen(
            [sys.executable, RUNNER, "--lane", lane.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True, preexec_fn=give_way if lane.gives_way else None)
        self.running[lane] = process
        threading.Thread(target=self._follow, args=(lane, process), daemon=True).start()

    def _follow(self, lane, process):
        start = time.monotonic()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("FAIL"):  # the rest comes when the lane has ended
                print(f"-- {lane.name}: {line.rstrip()}", flush=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        minutes = (time.monotonic() - start) / 60
        found = lanes.COUNTS.search("".join(lines[-3:]))
        passed, failed, skipped = (int(n or 0) for n in found.groups()) if found else (0, 1, 0)
        if process.returncode != 0 and not failed:
            failed = 1
        troubles = [line.strip() for line in lines if re.match(r"^\S.*: \d+ failed$", line)] if failed else []
        done = Done(lane, minutes, (usage.ru_utime + usage.ru_stime) / 60, passed, failed, skipped,
                    troubles or [f"{lane.name}: {failed} failed"] * bool(failed),
                    [(float(found[2]), f"{lane.name}: {found[1]}") for found in map(TIMED.match, lines) if found])
        with self.change:
            print(f"\n== {lane.name}: {lane.what} ({minutes:.1f} minutes)\n{''.join(lines)}", end="", flush=True)
            del self.running[lane]
            self.done.append(done)
            self.change.notify()
