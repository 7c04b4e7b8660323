"""What systemd does for a service with socket units: listens for it, passes the sockets on, hears how it is."""
import socket

from . import workdir
from .process import Child


class Manager:
    """Listens under the names given, a list of sockets each; starts programs with them, one after the other."""

    def __init__(self, **named):
        self.named = [(name, each) for name, sockets in named.items() for each in sockets]
        self.directory = workdir.fresh("manager")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.directory / "notify"))

    def start(self, name, argv, watchdog_s=None):
        """The child, as lib.process knows it."""
        env = {"NOTIFY_SOCKET": str(self.directory / "notify")}
        exports = "LISTEN_PID=$$"
        if self.named:
            env |= {"LISTEN_FDS": str(len(self.named)), "LISTEN_FDNAMES": ":".join(name for name, _ in self.named)}
        if watchdog_s:
            env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
            exports += " WATCHDOG_PID=$$"
        # The shell's process becomes the program's; before that nobody knows its pid.
        child = Child(name, ["sh", "-c", f'export {exports}; exec "$@"', "sh", *argv], env=env,
                      directory=self.directory, sockets=[each.fileno() for _, each in self.named])
        return child.start()

    def told(self, timeout_s):
        """The next notification, as a dictionary; None: there is none in time."""
        self.notify.settimeout(timeout_s)
        try:
            text = self.notify.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def close(self):
        self.notify.close()
        for _, each in self.named:
            each.close()

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

