"""The server under test and its rivals: each is started in front of a target and gives an NBD URI."""
import os
import pathlib
import signal

from . import sockets, workdir
from .process import Child

ROOT = pathlib.Path(__file__).resolve().parents[2]
INITIATOR = "iqn.2026-11.io.nbdgw:host-1"


def gateway_binary():
    """The gateway to test: NBDGW_BIN, else the release build."""
    return pathlib.Path(os.environ.get("NBDGW_BIN", ROOT / "build/release/nbdgw"))


def gateway_command(*arguments):
    """Command line of the gateway; NBDGW_WRAP (a command and its arguments) goes before it."""
    return [*os.environ.get("NBDGW_WRAP", "").split(), gateway_binary(), *arguments]


class Server:
    """A process that serves NBD on one TCP port of 127.0.0.1."""
    name = "server"

    def __init__(self):
        self.directory = workdir.fresh(self.name)
        self.port = sockets.free_port()
        self.child = None

    @property
    def pid(self):
        return self.child.pid

    def uri(self, export="vol0"):
        return f"nbd://127.0.0.1:{self.port}/{export}"

    def stop(self):
        return self.child.stop(signal.SIGTERM)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.child is not None:
            self.child.kill()


class QemuNbd(Server):
    """qemu-nbd with libiscsi: one iSCSI connection. What people use today, and the benchmark's rival."""
    name = "qemu-nbd"

    def __init__(self, target, lun=1, export="vol0"):
        super().__init__()
        self.target, self.lun, self.export = target, lun, export

    def start(self):
        image = (f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={self.target.portal},"
                 f"file.target={self.target.iqn},file.lun={self.lun},file.initiator-name={INITIATOR}")
        argv = ["qemu-nbd", "--image-opts", image, "-t", "-e", "16", "-b", "127.0.0.1", "-p", self.port,
                "-x", self.export, "--cache=none", "--discard=unmap"]
        if self.target.chap:
            secret = self.directory / "secret"
            secret.write_text(self.target.chap.secret)
            argv[2] += f",file.user={self.target.chap.user},file.password-secret=chap"
            argv += ["--object", f"secret,id=chap,file={secret}"]
        self.child = Child(self.name, argv, directory=self.directory).start()
        self.child.wait_listening(self.port)
        return self


class Relay(Server):
    """haproxy, one thread, plain TCP, in front of nbdkit's memory disk: what moving the bytes alone costs."""
    name = "relay"

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.backend_port = sockets.free_port()
        self.backend = None

    def start(self):
        self.backend = Child("nbdkit", ["nbdkit", "-f", "-i", "127.0.0.1", "-p", self.backend_port,
                                        "memory", f"size={self.size}"], directory=self.directory).start()
        self.backend.wait_listening(self.backend_port)
        config = self.directory / "haproxy.cfg"
        config.write_text(f"""global
  nbthread 1
  maxconn 256
  tune.bufsize 262144
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen nbd
  bind 127.0.0.1:{self.port}
  server disk 127.0.0.1:{self.backend_port}
""")
        self.child = Child("haproxy", ["haproxy", "-db", "-f", config], directory=self.directory).start()
        self.child.wait_listening(self.port)
        return self

    def stop(self):
        super().stop()
        self.backend.stop()

    def __exit__(self, *rest):
        super().__exit__(*rest)
        if self.backend is not None:
            self.backend.kill()
