"""What the tests of the admin API share: a gateway on a target with faults, asked and changed over HTTP."""
import contextlib
import threading

import nbd

from base import MIB, InteropCase
from lib import api, gateway, openapi
from lib.targets import Embedded, Lun
from recovery import LADDER_TIMEOUTS

CONTRACT = openapi.Contract()
# Nothing here waits for the ladder: what hangs is ended by hand. Resets are quick on the embedded target.
TIMEOUTS = {**LADDER_TIMEOUTS, "command": "60s", "nop_interval": "0s"}


class ApiCase(api.Api, InteropCase):
    """A gateway with two exports on a target with faults."""

    def setUp(self):
        self.target = self.use(Embedded({1: Lun(32 * MIB), 2: Lun(32 * MIB)}, control=True))
        self.server = self.use(self.make_gateway())
        self.port = self.server.admin_port
        self.ready()

    def make_gateway(self, **options):
        return gateway.Gateway({"array": self.target}, {"vol0": ("array", 1), "vol1": ("array", 2)}, admin="http",
                               target_options={"timeouts": TIMEOUTS}, **options)

    def instead(self, server):
        """Another gateway in the place of the one there was: to the target both are the same initiator."""
        self.server.stop()
        self.server = self.use(server)
        return self.server

    def client(self, export="vol0"):
        client = nbd.NBD()
        client.set_export_name(export)
        client.connect_tcp("127.0.0.1", str(self.server.port))
        return client

    @contextlib.contextmanager
    def hung_write(self, lun=1):
        """A client whose write hangs at the target, until the block ends or somebody does something about it."""
        fault = self.target.faults.post("hang_task", lun=lun, opcode="write", count=1)
        client = self.client(f"vol{lun - 1}")
        done = threading.Event()

        def write():
            client.pwrite(b"\x5a" * 4096, 8192)
            done.set()
        thread = threading.Thread(target=write)
        thread.start()
        try:
            self.server.child.wait_until(lambda: self.target.faults.hits(fault) == 1, "writing")
            yield done
        finally:
            self.target.faults.delete(fault)
            thread.join(30)
        self.assertTrue(done.is_set(), "the write was never answered")
        self.assertEqual(client.pread(4096, 8192), b"\x5a" * 4096)
        client.shutdown()

    def hung_task(self):
        return next(task for task in self.get("/v1/sessions/array/tasks")["tasks"] if task["opcode"] == "WRITE(16)")

    def audit(self, verb):
        return [line for line in self.server.child.log().splitlines()
                if "admin: by=" in line and f"verb={verb} " in line]
