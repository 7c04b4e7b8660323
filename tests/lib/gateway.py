"""nbdgw itself: configuration written, process started, readiness waited for, a clean end demanded."""
from . import servers, sockets, yaml_text
from .process import Child


class Gateway(servers.Server):
    """`nbdgw serve` in front of targets. `targets` maps a name to a lib.targets target; `exports` maps an export's
    name to (target name, LUN), or to (target name, LUN, more keys). `target_options` go into every target's mapping,
    `extra` into the file's top level. `admin` opens the admin server on a port of its own (`admin_port`), with "http" or
    "https"; `admin_unix` on a socket (`admin_path`). `wrap`: a command that runs it."""
    name = "nbdgw"

    def __init__(self, targets, exports, connections=4, target_options=None, extra=None, unix=False, env=None,
                 admin=None, admin_unix=False, initiator=servers.INITIATOR, wrap=()):
        super().__init__()
        self.targets, self.exports = targets, exports
        self.connections = connections
        self.target_options = target_options or {}
        self.extra = extra or {}
        self.unix_path = self.directory / "nbd.sock" if unix else None
        self.admin_scheme = admin
        self.admin_port = sockets.free_port() if admin else None
        self.admin_path = self.directory / "admin.sock" if admin_unix else None
        self.env = env
        self.wrap = list(wrap)
        self.initiator = initiator
        self.config_path = self.directory / "nbdgw.yaml"

    def start(self):
        """Starts it and returns when its listeners are there; an export whose target is not up yet keeps its clients
        waiting in the handshake."""
        self.write_config()
        self.child = Child(self.name, self.wrap + servers.gateway_command("serve", "-c", self.config_path),
                           env=self.env, directory=self.directory).start()
        self.child.wait_listening(self.port)
        if self.unix_path:
            self.child.wait_socket(self.unix_path)
        if self.admin_port:
            self.child.wait_listening(self.admin_port)
        if self.admin_path:
            self.child.wait_socket(self.admin_path)
        return self

    def write_config(self):
        self.config_path.write_text(yaml_text.dump(self._config()))

    def stop(self):
        """SIGTERM must drain and exit 0."""
        status = super().stop()
        if status != 0:
            self.child.fail(f"exit status {status} after SIGTERM")
        return status

    def admin_url(self, path=""):
        return f"{self.admin_scheme}://127.0.0.1:{self.admin_port}{path}"

    def unix_uri(self, export="vol0"):
        return f"nbd+unix:///{export}?socket={self.unix_path}"

    def _config(self):
        listen = [f"tcp://127.0.0.1:{self.port}"]
        if self.unix_path:
            listen.append(f"unix://{self.unix_path}")
        admin = [self.admin_url()] if self.admin_port else []
        if self.admin_path:
            admin.append(f"unix://{self.admin_path}")
        return {
            "listen": {"nbd": listen, **({"admin": admin} if admin else {})},
            **self.extra,
            "initiator": {"name": self.initiator},
            "targets": [self._target(name, target) for name, target in self.targets.items()],
            "exports": [self._export(name, *where) for name, where in self.exports.items()],
        }

    @staticmethod
    def _export(name, target, lun, more=None):
        return {"name": name, "target": target, "lun": lun, **(more or {})}

    @staticmethod
    def _portals(target):
        """Those of a target that has several, or the one."""
        return target.portals if hasattr(target, "portals") else [target.portal]

    def _target(self, name, target):
        config = {"name": name, "iqn": target.iqn, "portals": self._portals(target),
                  "connections": self.connections, **self.target_options}
        if target.chap:
            config["auth"] = {"chap": self._chap(target.chap)}
        return config

    def _chap(self, chap):
        config = {"user": chap.user, "secret_file": str(self._secret("secret", chap.secret))}
        if chap.algorithms:
            config["algorithms"] = list(chap.algorithms)
        if chap.mutual_user:
            config["mutual"] = {"user": chap.mutual_user,
                                "secret_file": str(self._secret("mutual-secret", chap.mutual_secret))}
        return config

    def _secret(self, name, text):
        path = self.directory / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return path
