"""Child processes: started, waited for, stopped by pid, logs kept."""
import ctypes
import fcntl
import os
import signal
import subprocess
import time

from . import pace, sockets, workdir

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20
LOG_TIMEOUT_S = 2
AT_REST_S = 0.5  # nothing has changed for so long
FIRST_SOCKET = 3  # SD_LISTEN_FDS_START
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_all = []


class ChildError(Exception):
    """A child did not do what was asked: the text has the end of its log."""


class Child:
    """One child process of ours; its stdout and stderr go to one log file. `sockets`: it finds them from descriptor 3
    on."""

    def __init__(self, name, argv, env=None, directory=None, sockets=()):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.env = {**os.environ, **(env or {})}
        self.log_path = (directory or workdir.root()) / f"{name}-{len(_all)}.log"
        self.sockets = sockets
        self.process = None
        self.shown = 0
        _all.append(self)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                            pass_fds=range(FIRST_SOCKET, FIRST_SOCKET + len(self.sockets)),
                                            preexec_fn=self._before_exec)
        return self

    def _before_exec(self):
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # First out of the way of each other: one may have a number that another one shall get.
        out_of_the_way = [fcntl.fcntl(each, fcntl.F_DUPFD, FIRST_SOCKET + len(self.sockets)) for each in self.sockets]
        for i, fd in enumerate(out_of_the_way):
            os.dup2(fd, FIRST_SOCKET + i, inheritable=True)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        """What it has said so far."""
        self._let_it_finish()
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def _let_it_finish(self):
        """The gateway's log is written by a thread of its own: what has led to something that a test has seen may not be
        there yet. Whoever has nothing to write sleeps."""
        end = time.monotonic() + LOG_TIMEOUT_S
        while self.alive() and _state_of_thread(self.pid, "log") not in (None, "S") and time.monotonic() < end:
            time.sleep(0.001)

    def fail(self, text):
        raise ChildError(f"{self.name}: {text}\n  {' '.join(self.argv)}\n{tail(self.log(), 40)}")

    def wait_until(self, condition, what, timeout_s=START_TIMEOUT_S):
        """Polls until the condition holds; an error if the child dies or the time is over."""
        start = time.monotonic()
        while not condition():
            if not self.alive():
                self.fail(f"ended with {self.process.returncode} before it was {what}")
            taken_s = time.monotonic() - start
            if taken_s > pace.limit_here(taken_s, timeout_s):
                self.fail(f"not {what} after {timeout_s} s")
            time.sleep(0.01)
        return self

    def wait_at_rest(self, look):
        """Waits until what is looked at does not change any more; returns it."""
        seen = []

        def same():
            now = look()
            if not seen or seen[-1][1] != now:
                seen.append((time.monotonic(), now))
            return time.monotonic() - seen[-1][0] > AT_REST_S
        self.wait_until(same, "at rest")
        return seen[-1][1]

    def wait_listening(self, port):
        return self.wait_until(lambda: sockets.owns_listener(self.pid, port), f"listening on port {port}")

    def wait_socket(self, path):
        return self.wait_until(lambda: sockets.listens_unix(path), f"listening on {path}")

    def wait_log(self, text, timeout_s=START_TIMEOUT_S):
        return self.wait_until(lambda: text in self.log(), f"saying '{text}'", timeout_s)

    def wait(self, timeout_s):
        """Exit status, or an error if it does not end in time."""
        if not self._ends(timeout_s):
            self.fail(f"still running after {timeout_s} s")
        return self.process.returncode

    def _ends(self, timeout_s):
        """Waits for it, on a slow machine for longer; whether it has ended."""
        start, limit_s = time.monotonic(), timeout_s
        while (left_s := start + limit_s - time.monotonic()) > 0:
            try:
                self.process.wait(left_s)
                return True
            except subprocess.TimeoutExpired:
                limit_s = pace.limit_here(time.monotonic() - start, timeout_s)
        return False

    def send(self, number):
        if self.alive():
            self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout_s=STOP_TIMEOUT_S):
        """Asks it to end and returns the exit status; kills it (and fails) if it does not."""
        if self.process is None:
            return None
        self.send(number)
        if not self._ends(timeout_s):
            self.kill()
            self.fail(f"did not end {timeout_s} s after signal {number}; killed")
        return self.process.returncode

    def kill(self):
        if self.alive():
            self.process.kill()
        if self.process is not None:
            return self.process.wait()
        return None


def _state_of_thread(pid, name):
    """"S" of one that sleeps, "R" of one that runs; None: there is no thread of this name."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat") as stat:
                text = stat.read()
            if text[text.index("(") + 1:text.rindex(")")] == name:
                return text[text.rindex(")") + 2]
    except OSError:
        pass
    return None


def kill_all():
    """Ends whatever is left of our children."""
    for child in _all:
        child.kill()


def tail(text, lines):
    return "\n".join("    | " + line for line in text.splitlines()[-lines:])


def fresh_logs(lines=40):
    """The last lines of every log that has grown since the last call, for a failure report."""
    parts = []
    for child in _all:
        text = child.log()
        if len(text) > child.shown:
            parts.append(f"  {child.log_path} ({child.name}):\n{tail(text[child.shown:], lines)}")
            child.shown = len(text)
    return "\n".join(parts)


def mark_logs():
    """From here on fresh_logs() shows only what is new."""
    for child in _all:
        child.shown = len(child.log())
