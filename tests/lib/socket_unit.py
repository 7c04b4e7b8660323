"""What systemd does for a service with socket units: listens for it, passes the sockets on, hears how it is."""
import os
import queue
import socket
import threading

from . import workdir
from .process import Child


class Manager:
    """Listens under the names given, a list of sockets each; starts programs with them, one after the other. With
    `store` the unit has a store of so many descriptors (FileDescriptorStoreMax=): the next program gets what is in
    there, too."""

    def __init__(self, store=0, **named):
        self.named = [(name, each.fileno()) for name, sockets in named.items() for each in sockets]
        self.sockets = [each for sockets in named.values() for each in sockets]
        self.places = store
        self.stored = []  # (name, descriptor)
        self.directory = workdir.fresh("manager")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.directory / "notify"))
        self.messages = queue.SimpleQueue()
        self.deaf = False  # it hears and does nothing, as a service manager that hangs
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def start(self, name, argv, watchdog_s=None):
        """The child, as lib.process knows it."""
        env = {"NOTIFY_SOCKET": str(self.directory / "notify")}
        exports = "LISTEN_PID=$$"
        passed = self.named + self.stored
        if passed:
            env |= {"LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": ":".join(name for name, _ in passed)}
        if self.places:
            env["FDSTORE"] = str(self.places)
        if watchdog_s:
            env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
            exports += " WATCHDOG_PID=$$"
        # The shell's process becomes the program's; before that nobody knows its pid.
        child = Child(name, ["sh", "-c", f'export {exports}; exec "$@"', "sh", *argv], env=env,
                      directory=self.directory, sockets=[fd for _, fd in passed])
        return child.start()

    def told(self, timeout_s):
        """The next notification, as a dictionary; None: there is none in time."""
        try:
            return self.messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _listen(self):
        while True:
            text, fds, _, _ = socket.recv_fds(self.notify, 4096, 16)
            if not text:
                return
            message = dict(line.split("=", 1) for line in text.decode().splitlines())
            if self.deaf:
                self.kept_open = fds
            elif not self._about_store(message, fds):
                self.messages.put(message)

    def _about_store(self, message, fds):
        """What is between the program and the store, sd_notify(3)."""
        if message.get("FDSTORE") == "1":
            for fd in fds:
                if len(self.stored) < self.places:
                    self.stored.append((message["FDNAME"], fd))
                else:
                    os.close(fd)
        elif message.get("FDSTOREREMOVE") == "1":
            for name, fd in list(self.stored):
                if name == message["FDNAME"]:
                    self.stored.remove((name, fd))
                    os.close(fd)
        elif message.get("BARRIER") == "1":
            for fd in fds:
                os.close(fd)
        else:
            return False
        return True

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.directory / "notify"))
        self.listener.join()
        self.notify.close()
        for each in self.sockets:
            each.close()
        for _, fd in self.stored:
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def tcp(host="127.0.0.1", listening=True):
    made = socket.socket()
    made.bind((host, 0))
    if listening:
        made.listen(64)
    return made


def unix(path):
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen(64)
    return made

