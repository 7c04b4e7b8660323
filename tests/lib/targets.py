"""iSCSI targets that we did not write: tgtd and istgt, each configured for one run and owned by it."""
import dataclasses
import pathlib
import signal
import subprocess

from . import faults, servers, sockets, workdir
from .process import Child, ChildError

MIB = 1 << 20


@dataclasses.dataclass
class Lun:
    """A LUN on a file of its own (made sparse unless the file is given). `identity`: its serial number and what its
    designators are made of, where the target lets us choose."""
    size: int = 256 * MIB
    block_size: int = 512
    thin: bool = False
    path: pathlib.Path = None
    identity: str = None


@dataclasses.dataclass
class Chap:
    """Credentials: ours towards the target, and (mutual) the target's towards us. `algorithms` is what the gateway
    offers (None: its default list); tgtd takes number 7, SHA-256, for SHA-1, so it must be given MD5 alone."""
    user: str
    secret: str
    mutual_user: str = None
    mutual_secret: str = None
    algorithms: tuple = None


class _Target:
    def __init__(self, name, iqn, luns, chap, max_connections):
        self.iqn = iqn
        self.directory = workdir.fresh(name)
        self.luns = luns
        self.chap = chap
        self.max_connections = max_connections
        self.port = sockets.free_port()
        self.child = None
        for number, lun in self.luns.items():
            self._make(lun, f"lun{number}.img")

    def _make(self, lun, name):
        if lun.path is None:
            lun.path = self.directory / name
            with open(lun.path, "wb") as f:
                f.truncate(lun.size)

    @property
    def portal(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.child.pid

    def kill(self):
        """As a power cut would: no logout, no reply, the sockets reset."""
        self.child.kill()

    def stop(self):
        self.child.stop(signal.SIGTERM)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.child is not None:
            self.child.kill()


class Tgt(_Target):
    """tgtd on a free port with a control port of its own, so that many run side by side."""

    def __init__(self, luns=None, max_connections=4, params=None, chap=None, iqn="iqn.2026-11.io.nbdgw:tgt", env=None):
        super().__init__("tgt", iqn, luns or {1: Lun()}, chap, max_connections)
        self.env = env
        self.params = {"MaxConnections": max_connections, **(params or {})}
        self.control = self.port % 32768  # names tgtd's control socket (15 bits): unique while the port is ours

    def start(self):
        # tgtd keeps its control socket and lock here; the package makes the folder only when its service starts.
        pathlib.Path("/var/run/tgtd").mkdir(exist_ok=True)
        self.child = Child("tgtd", ["tgtd", "-f", "-C", self.control, "--iscsi", f"portal={self.portal}"],
                           directory=self.directory, env=self.env).start()
        self.child.wait_listening(self.port)
        self._admin("new", "target", "--tid", 1, "-T", self.iqn)
        for name, value in self.params.items():
            self._admin("update", "target", "--tid", 1, "-n", name, "-v", value)
        for number, lun in self.luns.items():
            self._add(number, lun)
        if self.chap:
            self._account(self.chap.user, self.chap.secret)
            if self.chap.mutual_user:
                self._account(self.chap.mutual_user, self.chap.mutual_secret, "--outgoing")
        self._admin("bind", "target", "--tid", 1, "-I", "ALL")  # last: from here on a login succeeds
        return self

    def replace(self, number, lun):
        """Another disk takes the LUN's place, while sessions go on."""
        self._make(lun, f"lun{number}-{lun.identity}.img")
        self._admin("delete", "logicalunit", "--tid", 1, "--lun", number)
        self._add(number, lun)

    def _add(self, number, lun):
        self._admin("new", "logicalunit", "--tid", 1, "--lun", number, "-b", lun.path,
                    "--bstype", "rdwr", "--blocksize", lun.block_size)
        params = ["thin_provisioning=1"] if lun.thin else []
        if lun.identity:
            params += [f"scsi_sn={lun.identity}", f"scsi_id={lun.identity}"]
        if params:
            self._admin("update", "logicalunit", "--tid", 1, "--lun", number, "--params", ",".join(params))

    def sessions(self):
        """tgtadm's own view of the target, for assertions and failure reports."""
        return self._admin("show", "target")

    def _account(self, user, secret, *direction):
        self._admin("new", "account", "--user", user, "--password", secret)
        self._admin("bind", "account", "--tid", 1, "--user", user, *direction)

    def _admin(self, op, mode, *rest):
        argv = ["tgtadm", "-C", self.control, "--lld", "iscsi", "--op", op, "--mode", mode, *rest]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise ChildError(f"{' '.join(done.args)}: {done.stderr.strip()}")
        return done.stdout


class Istgt(_Target):
    """istgt in the foreground, configuration generated. Its LUNs are always 512-byte, thick, InitialR2T=Yes."""

    def __init__(self, luns=None, max_connections=4, chap=None):
        super().__init__("istgt", "iqn.2026-11.io.nbdgw:istgt", luns or {0: Lun()}, chap, max_connections)

    def start(self):
        config, auth = self.directory / "istgt.conf", self.directory / "auth.conf"
        auth.write_text(self._auth())
        auth.chmod(0o600)
        config.write_text(self._config(auth))
        config.chmod(0o600)
        self.child = Child("istgt", ["istgt", "-D", "-c", config, "-p", self.directory / "istgt.pid"],
                           directory=self.directory).start()
        self.child.wait_listening(self.port)
        return self

    def _auth(self):
        if not self.chap:
            return '[AuthGroup1]\n  Auth "unused" "unusedunused"\n'
        mutual = f' "{self.chap.mutual_user}" "{self.chap.mutual_secret}"' if self.chap.mutual_user else ""
        return f'[AuthGroup1]\n  Auth "{self.chap.user}" "{self.chap.secret}"{mutual}\n'

    def _config(self, auth):
        method = "None" if not self.chap else "CHAP Mutual" if self.chap.mutual_user else "CHAP"
        luns = "".join(f"  LUN{number} Storage {lun.path} {lun.size // MIB}MB\n" for number, lun in self.luns.items())
        return f"""[Global]
  NodeBase "{self.iqn.rsplit(":", 1)[0]}"
  PidFile {self.directory}/istgt.pid
  AuthFile {auth}
  MediaDirectory {self.directory}
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 16
  MaxConnections {self.max_connections}
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 2
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 1048576
  MaxRecvDataSegmentLength 262144
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0

[UnitControl]
  AuthMethod None
  Portal UC1 127.0.0.1:{sockets.free_port()}
  Netmask 127.0.0.1

[PortalGroup1]
  Portal DA1 {self.portal}

[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8

[LogicalUnit1]
  TargetName {self.iqn.rsplit(":", 1)[1]}
  TargetAlias "interop disk"
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod {method}
  AuthGroup AuthGroup1
  UseDigest Auto
  UnitType Disk
{luns}"""


class Embedded(_Target):
    """`nbdgw target`: our own target, LUN 1 on a file. With `control`, faults can be switched on (lib.faults). With
    `controllers`, it has so many portals, each a portal group of its own."""

    def __init__(self, luns=None, max_connections=4, chap=None, options=(), control=False, controllers=1,
                 iqn="iqn.2026-11.io.nbdgw:embedded"):
        super().__init__("embedded", iqn, luns or {1: Lun()}, chap, max_connections)
        self.portals = [self.portal] + [f"127.0.0.1:{sockets.free_port()}" for _ in range(controllers - 1)]
        self.options = list(options)
        self.faults = faults.Faults(sockets.free_port()) if control else None

    def start(self):
        listen = [word for portal in self.portals for word in ("--listen", portal)]
        argv = servers.gateway_command("target", *listen, "--iqn", self.iqn,
                                       "--max-connections", self.max_connections, *self.options)
        for number in sorted(self.luns):
            lun = self.luns[number]
            argv += ["--lun", f"file:{lun.path},size={lun.size // MIB}MiB,block={lun.block_size}"]
        if self.chap:
            argv += self._account("chap", self.chap.user, self.chap.secret)
            if self.chap.mutual_user:
                argv += self._account("mutual", self.chap.mutual_user, self.chap.mutual_secret)
        if self.faults:
            argv += ["--control", f"127.0.0.1:{self.faults.port}"]
        self.child = Child("nbdgw-target", argv, directory=self.directory).start()
        self.child.wait_listening(self.port)
        if self.faults:
            self.child.wait_listening(self.faults.port)
        return self

    def _account(self, kind, user, secret):
        path = self.directory / f"{kind}-secret"
        path.write_text(secret + "\n")
        path.chmod(0o600)
        return [f"--{kind}-user", user, f"--{kind}-secret-file", path]
