"""A guest with a kernel of its own, for what only a kernel does: qemu under software emulation, driven command by command
over a virtio-serial port. The host is 10.0.2.2 in there, and ports of the guest are forwarded to ports of 127.0.0.1."""
import base64
import itertools
import socket
import subprocess
import threading
import time

import image
from lib import process, sockets, workdir

HOST = "10.0.2.2"
BOOT_TIMEOUT_S = 120  # it takes 3 to 10 s, more on a busy machine
COMMAND_TIMEOUT_S = 300  # for what never ends: all that is emulated takes several times longer on a busy machine
# The guest ends a command by itself when its time is over. So long after that nobody is there to answer.
GRACE_S = 30
KILLED = 137


class GuestError(AssertionError):
    """The guest did not do what was asked: the text has the command, its output and the end of the console's log."""


class Command:
    """A command under way in the guest."""

    def __init__(self, guest, text, timeout_s):
        self.guest, self.text, self.timeout_s = guest, text, timeout_s
        self.status = self.output = None
        self._over = threading.Event()

    def done(self):
        return self._over.is_set()

    def answered(self, status, output):
        self.status, self.output = status, output
        self._over.set()

    def wait(self):
        """(exit status, output); the status is 137 if its time was over."""
        if not self._over.wait(self.timeout_s + GRACE_S) or self.status is None:
            raise self.error("no answer")
        return self.status, self.output

    def finish(self):
        """Its output; an exit status other than 0 is an error."""
        status, output = self.wait()
        if status != 0:
            late = f", its {self.timeout_s} s were over" if status == KILLED else ""
            raise self.error(f"exit status {status}{late}\n{process.tail(output, 40)}")
        return output

    def error(self, text):
        return GuestError(f"in the guest: {self.text}\n  {text}\nconsole:\n{process.tail(self.guest.child.log(), 40)}")


class Guest:
    """One running guest. `forward`: ports of the guest that the host shall reach, see port(). `system`: (kernel,
    initramfs) if not those of image.py."""

    def __init__(self, name="guest", forward=(), memory_mib=1024, cpus=2, system=None):
        self.name = name
        self.directory = workdir.fresh(name)
        self.ports = {port: sockets.free_port() for port in forward}
        self.memory_mib, self.cpus = memory_mib, cpus
        self.system = system
        self.child = None
        self.boot_s = None
        self._socket = None
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._under_way = {}
        self._ready = threading.Event()

    def port(self, port):
        """The port of 127.0.0.1 that leads to a port of the guest."""
        return self.ports[port]

    def start(self):
        start = time.monotonic()
        path = self.directory / "agent"
        self.child = process.Child(self.name, self.command(*self._agent(path)), directory=self.directory).start()
        self.child.wait_socket(path)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        threading.Thread(target=self._receive, daemon=True).start()
        self.child.wait_until(self._ready.is_set, "booted", BOOT_TIMEOUT_S)
        self.boot_s = time.monotonic() - start
        return self

    def command(self, *more, serial="stdio", kernel_arguments=""):
        """Command line of qemu."""
        kernel, initramfs = self.system or image.build()
        forward = "".join(f",hostfwd=tcp:127.0.0.1:{ours}-:{theirs}" for theirs, ours in self.ports.items())
        return ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
                "-smp", self.cpus, "-m", self.memory_mib, "-nodefaults", "-no-user-config", "-no-reboot",
                "-display", "none", "-serial", serial, "-kernel", kernel, "-initrd", initramfs,
                # A panic ends qemu; mitigations cost time and guard nothing here.
                "-append", f"console=ttyS0 panic=-1 mitigations=off {kernel_arguments}".strip(),
                "-netdev", f"user,id=net{forward}", "-device", "virtio-net-pci,netdev=net", *more]

    @staticmethod
    def _agent(path):
        return ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={path},server=on,wait=off",
                "-device", "virtserialport,chardev=agent,name=nbdgw.agent"]

    def stop(self):
        """As a power cut would."""
        if self.child is not None:
            self.child.kill()
        if self._socket is not None:
            self._socket.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def begin(self, text, timeout_s=COMMAND_TIMEOUT_S):
        """Starts a command (of busybox's sh) and returns; others may run beside it."""
        with self._lock:
            number = str(next(self._ids))
            command = self._under_way[number] = Command(self, text, timeout_s)
            script = base64.b64encode(text.encode()).decode()
            self._socket.sendall(f"{number} {timeout_s} {script}\n".encode())
        return command

    def run(self, text, timeout_s=COMMAND_TIMEOUT_S):
        """(exit status, output) of a command."""
        return self.begin(text, timeout_s).wait()

    def check(self, text, timeout_s=COMMAND_TIMEOUT_S):
        """Output of a command that must end with 0."""
        return self.begin(text, timeout_s).finish()

    def put(self, path, content, mode=0o644):
        """Writes a file in the guest."""
        text = base64.b64encode(content if isinstance(content, bytes) else content.encode()).decode()
        self.check(f"base64 -d > {path} <<'END'\n{text}\nEND\nchmod {mode:o} {path}")

    def wait_until(self, text, what, timeout_s=COMMAND_TIMEOUT_S):
        """Polls, within the guest, until the condition holds."""
        command = self.begin(f"until {text}; do sleep 0.05; done", timeout_s)
        if command.wait()[0] != 0:
            raise command.error(f"not {what} after {timeout_s} s")

    def _receive(self):
        """Takes answers until the guest is gone; then nobody waits any more."""
        try:
            with self._socket.makefile("rb") as stream:
                while head := stream.readline():
                    number, status, size = head.decode().split()
                    output = stream.read(int(size)).decode(errors="replace")
                    if number == "ready":
                        self._ready.set()
                        continue
                    with self._lock:
                        command = self._under_way.pop(number)
                    command.answered(int(status), output)
        except (OSError, ValueError):
            pass
        with self._lock:
            for command in self._under_way.values():
                command.answered(None, "")


def shell():
    """A guest whose console is this terminal; returns when it ends."""
    argv = Guest("shell").command(serial="mon:stdio", kernel_arguments="shell quiet")
    return subprocess.run([str(word) for word in argv]).returncode
