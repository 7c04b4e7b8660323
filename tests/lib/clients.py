"""The NBD clients that we did not write, each as one call that fails with the client's own words."""
import json
import os
import signal
import subprocess
import tempfile

from . import process, workdir

TIMEOUT_S = 120
_FIO_INTERRUPTED = 128  # fio's exit status after SIGINT


class ClientError(AssertionError):
    """A client ended with an error: the text has its command line and output."""


def run(argv, check=True, timeout_s=TIMEOUT_S, stdin=None):
    """Runs a client; with check an exit status other than 0 is an error."""
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, input=stdin)
    except subprocess.TimeoutExpired as late:
        raise ClientError(f"{' '.join(argv)}\n  no end after {timeout_s} s\n"
                          f"{process.tail((late.stderr or b'').decode(errors='replace'), 20)}") from None
    if check and done.returncode != 0:
        raise ClientError(f"{' '.join(argv)}\n  exit status {done.returncode}\n"
                          f"{process.tail(done.stdout + done.stderr, 30)}")
    return done


def nbdinfo(uri):
    """The one export of a URI, as nbdinfo --json tells it."""
    return json.loads(run(["nbdinfo", "--json", uri]).stdout)["exports"][0]


def nbdinfo_list(uri):
    """Every export that the server lists."""
    return json.loads(run(["nbdinfo", "--list", "--json", uri]).stdout)["exports"]


def nbdcopy(source, destination, connections=4, *options):
    run(["nbdcopy", f"--connections={connections}", *options, source, destination])


def qemu_io(uri, *commands):
    """Runs qemu-io commands in order; a failed one (an error or a pattern that does not match) is an error."""
    argv = ["qemu-io", "-f", "raw", "-t", "none", "-d", "unmap"]
    for command in commands:
        argv += ["-c", command]
    done = run([*argv, uri])
    if "failed" in done.stdout + done.stderr:
        raise ClientError(f"qemu-io {commands}\n{process.tail(done.stdout + done.stderr, 30)}")
    return done.stdout


class Fio:
    """One fio run with the nbd engine: every job is one NBD connection on its own part of the disk."""

    def __init__(self, uri, jobs=1, **options):
        self.path = tempfile.mkstemp(prefix="fio-", suffix=".json", dir=workdir.root())[1]
        self.argv = ["fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", f"--numjobs={jobs}", "--group_reporting",
                     "--thread", "--output-format=json", f"--output={self.path}"]
        for name, value in options.items():
            self.argv.append(f"--{name}" if value is True else f"--{name}={value}")
        self.process = None
        self.interrupted = False

    def start(self):
        self.process = subprocess.Popen(self.argv, cwd=workdir.root(), stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        return self

    def finish(self, timeout_s=TIMEOUT_S, check=True):
        """Waits for the end; an I/O error or a verify mismatch is an error. Returns the group's result."""
        try:
            output, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            raise ClientError(f"{' '.join(self.argv)}\n  no end after {timeout_s} s\n{process.tail(output, 20)}") from None
        try:
            with open(self.path) as f:
                text = f.read()
            result = json.loads(text[text.index("{"):])["jobs"][0]
        except (ValueError, OSError):
            raise ClientError(f"{' '.join(self.argv)}\n  no result\n{process.tail(output, 20)}") from None
        os.unlink(self.path)
        good = (0, _FIO_INTERRUPTED) if self.interrupted else (0,)
        if check and (self.process.returncode not in good or result["error"] != 0):
            raise ClientError(f"{' '.join(self.argv)}\n  exit status {self.process.returncode}, error "
                              f"{result['error']}\n{process.tail(output, 20)}")
        return result

    def interrupt(self):
        """Ends the run now; finish() takes that for a good end if nothing was wrong before."""
        self.interrupted = True
        self.process.send_signal(signal.SIGINT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def run(self, timeout_s=TIMEOUT_S):
        return self.start().finish(timeout_s)
