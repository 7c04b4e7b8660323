"""nbdgw as a service: a service manager listens for it, and holds its clients while it is restarted."""
import signal
import time

from . import servers, socket_unit
from .gateway import Gateway

READY_TIMEOUT_S = 20


class Service(Gateway):
    """A gateway that is run the way its systemd unit runs it. `store`: descriptors that the unit's store takes."""

    def __init__(self, targets, exports, store=64, **more):
        super().__init__(targets, exports, **more)
        listening = socket_unit.tcp()
        self.port = listening.getsockname()[1]
        self.socket_path = self.directory / "service.sock"
        self.manager = socket_unit.Manager(store=store, nbd=[listening, socket_unit.unix(self.socket_path)])

    def start(self):
        self.write_config()
        self.launch()
        return self

    def launch(self):
        """Starts it, and returns when it has said that it is ready."""
        self.child = self.manager.start(self.name, servers.gateway_command("serve", "-c", self.config_path))
        end = time.monotonic() + READY_TIMEOUT_S
        while (self.manager.told(0.1) or {}).get("READY") != "1":
            if not self.child.alive() or time.monotonic() > end:
                self.child.fail("never said that it is ready")

    def end(self, how=signal.SIGTERM):
        self.child.send(how)
        return self.child.wait(READY_TIMEOUT_S)

    def restart(self, how=signal.SIGTERM):
        """How long it was away, in seconds."""
        begin = time.monotonic()
        status = self.end(how)
        if how == signal.SIGTERM and status != 0:
            self.child.fail(f"exit status {status} after SIGTERM")
        self.launch()
        return time.monotonic() - begin

    def stop(self):
        try:
            return super().stop()
        finally:
            self.manager.close()

    def _config(self):
        config = super()._config()
        config["listen"]["nbd"] = ["systemd:nbd"]
        return config
