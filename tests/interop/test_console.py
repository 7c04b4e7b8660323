"""The console in Debian's Chromium: what it shows under load and while the ladder climbs, what its buttons do, how it is
used without a mouse. The scenarios are in tests/browser; here is what they look at.

    tests/interop/test_console.py FILE    makes the picture for the README"""
import json
import os
import pathlib
import subprocess
import sys

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, clients, gateway, nbdwire, npm, process, workdir
from lib.targets import Embedded, Lun

BROWSER = pathlib.Path(__file__).resolve().parents[1] / "browser" / "run.mjs"
BROWSER_TIMEOUT_S = 200
TOKEN = "0123456789abcdef0123456789abcdef"
RATE = 600  # requests per second
# A climb whose rungs last long enough to be seen by someone who looks once a second.
TIMEOUTS = {"command": "1s", "abort": "4s", "lu_reset": "4s", "target_reset": "4s", "nop_interval": "2s",
            "nop_timeout": "2s", "login": "2s", "logout": "1s", "replacement": "60s"}


def browse(scenario, server, **options):
    """Runs a scenario; what is wrong with it is the error."""
    options = {"url": server.admin_url("/"), "directory": str(workdir.fresh(scenario)), **options}
    clients.run(["node", BROWSER, scenario, json.dumps(options)], timeout_s=BROWSER_TIMEOUT_S)


def load(server, **options):
    return clients.Fio(server.uri(), jobs=2, **{"rw": "randrw", "bs": "4k", "iodepth": 4, "size": "16m",
                                                "offset_increment": "16m", "time_based": True, "runtime": 600,
                                                "rate_iops": f"{RATE // 4},{RATE // 4}", **options}).start()


class ConsoleCase(InteropCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.environ["NBDGW_NPM"] = str(npm.installed())
        cls.target = cls.enterClassContext(Embedded({1: Lun(64 * MIB)}, control=True))

    def gateway(self, **options):
        server = self.use(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}, admin="http",
                                          target_options={"timeouts": TIMEOUTS}, **options))
        server.child.wait_until(lambda: admin.get(server.admin_port, "/readyz").status in (200, 401), "ready")
        self.addCleanup(self.target.faults.clear)
        return server

    def busy(self, server):
        fio = load(server)
        self.addCleanup(fio.kill)
        return fio

    def still_clean(self, fio):
        self.assertIsNone(fio.process.poll(), "the load ended by itself: it saw an error")
        fio.interrupt()
        fio.finish()

    def status(self, server):
        return admin.get(server.admin_port, "/v1/status").json()

    def export(self, server):
        return admin.get(server.admin_port, "/v1/exports/vol0").json()

    def refusal(self, server):
        """What a new client is told, in the gateway's own words; None: it is let in."""
        with nbdwire.Wire(server.port) as wire:
            wire.greet()
            kind, _, text = wire.go()
        if kind == nbdwire.ACK:
            return None
        self.assertEqual(kind, nbdwire.SHUTDOWN)
        return text


@gateway_only
class Console(ConsoleCase):
    def test_live_numbers(self):
        server = self.gateway()
        fio = self.busy(server)
        browse("live", server, rate=RATE, name="vol0")
        self.still_clean(fio)

    def test_a_climb(self):
        server = self.gateway()
        fio = self.busy(server)
        browse("climb", server, control=f"http://127.0.0.1:{self.target.faults.port}", name="vol0")
        self.still_clean(fio)

    def test_a_target_that_was_never_there(self):
        nowhere = Embedded({1: Lun(64 * MIB)})
        browse("absent", self.use(gateway.Gateway({"array": nowhere}, {"vol0": ("array", 1)}, admin="http",
                                                  target_options={"timeouts": TIMEOUTS})), name="vol0", lost=False)

    def test_a_target_that_refuses_every_login(self):
        server = self.gateway()
        self.target.faults.post("login_refuse", **{"class": 3, "detail": 1})
        self.target.faults.post("drop_connection")
        browse("absent", server, name="vol0", lost=True)

    def test_keyboard(self):
        server = self.gateway()
        fio = self.busy(server)
        browse("keyboard", server)
        self.still_clean(fio)

    def test_looks(self):
        server = self.gateway()
        fio = self.busy(server)
        browse("looks", server)
        self.still_clean(fio)

    def test_no_answer(self):
        browse("silence", self.gateway())

    def test_token(self):
        path = workdir.fresh("token") / "token"
        path.write_text(TOKEN + "\n")
        path.chmod(0o600)
        browse("token", self.gateway(extra={"admin": {"token_file": str(path)}}), token=TOKEN)


@gateway_only
class ConsoleChanges(ConsoleCase):
    """Each button does what it says, and the gateway does it."""

    def test_drain_the_gateway(self):
        server = self.gateway()
        fio = self.busy(server)
        browse("change", server, button="Drain the gateway…", says=["No new client", "/readyz"], yes="Drain",
               ends="Done", shows=["#ready", "draining"])
        self.assertTrue(self.status(server)["draining"])
        self.assertEqual(admin.get(server.admin_port, "/readyz").status, 503)
        self.assertRegex(self.refusal(server) or "let in", "the gateway is being drained")
        browse("change", server, button="Undrain the gateway…", says=["let in again"], yes="Undrain", ends="Done",
               shows=["#ready", "ready"])
        self.assertFalse(self.status(server)["draining"])
        self.assertIsNone(self.refusal(server))
        self.still_clean(fio)

    def test_states_of_an_export(self):
        server = self.gateway()
        fio = self.busy(server)
        state = "#export-table tr.main td[data-label=State]"
        browse("change", server, button="drain", within="#export-table tr.main", says=["refused", "go on undisturbed"],
               yes="Set to drain", ends="Done", shows=[state, "drain"])
        self.assertEqual(self.export(server)["admin_state"], "drain")
        self.assertRegex(self.refusal(server) or "let in", "vol0 is being drained")
        self.assertIsNone(fio.process.poll(), "who was there goes on")
        self.assertEqual(self.export(server)["clients"], 2)
        browse("change", server, button="maint", within="#export-table tr.main", says=["sent away"],
               yes="Set to maint", ends="Done", shows=[state, "maint"])
        server.child.wait_until(lambda: self.export(server)["clients"] == 0, "rid of its clients")
        self.assertRegex(self.refusal(server) or "let in", "vol0 is in maintenance")
        browse("change", server, button="ready", within="#export-table tr.main", says=["let in"],
               yes="Set to ready", ends="Done", shows=[state, "^online"])
        self.assertIsNone(self.refusal(server))

    def test_resets(self):
        server = self.gateway()
        fio = self.busy(server)
        for button, yes, rung in (("Reset a LUN…", "Reset the LUN", "lu_reset"),
                                  ("Reset the target…", "Reset the target", "target_warm_reset"),
                                  ("Reset the session…", "Reset the session", "session_reset"),
                                  ("Drop connection 1 of array", "Drop the connection", "relogin")):
            with self.subTest(button):
                before = admin.get(server.admin_port, "/v1/events").json()["last"]
                browse("change", server, button=button, within=".session", says=["sent again|sends its own again"], yes=yes,
                       ends="Succeeded")
                events = admin.get(server.admin_port, f"/v1/events?since={before}").json()["events"]
                self.assertIn((rung, "success"), [(event["rung"], event["outcome"]) for event in events if event["kind"] == "rung"])
                server.child.wait_until(lambda: self.export(server)["state"] == "online", "online again")
        self.still_clean(fio)

    def test_abort_a_task(self):
        server = self.gateway()
        hang = self.target.faults.post("hang_task", opcode="write", count=1)
        slow = {**TIMEOUTS, "command": "100s"}
        server.stop()
        server = self.use(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}, admin="http",
                                          target_options={"timeouts": slow}))
        server.child.wait_until(lambda: admin.get(server.admin_port, "/readyz").status == 200, "ready")
        client = nbd.NBD()
        client.set_export_name("vol0")
        client.connect_tcp("127.0.0.1", str(server.port))
        buffer = nbd.Buffer.from_bytearray(bytearray(b"a" * 4096))
        write = client.aio_pwrite(buffer, 0)
        server.child.wait_until(lambda: client.poll(0) >= 0 and self.target.faults.hits(hang) == 1, "writing")
        browse("abort", server)
        server.child.wait_until(lambda: client.poll(0) >= 0 and client.aio_command_completed(write), "answered")
        client.shutdown()

    def test_disconnect_a_client(self):
        server = self.gateway()
        client = nbd.NBD()
        client.set_export_name("vol0")
        client.connect_tcp("127.0.0.1", str(server.port))
        browse("change", server, button="Disconnect client", within="#client-rows", says=["is sent away"],
               yes="Disconnect", ends="Succeeded")
        self.assertEqual(admin.get(server.admin_port, "/v1/clients").json()["clients"], [])


del ConsoleCase  # no test by itself


def make_picture(path):
    """Two exports under a load that moves, for as long as the plots show; then a task of one of them hangs."""
    os.environ["NBDGW_NPM"] = str(npm.installed())
    with Embedded({1: Lun(256 * MIB), 2: Lun(256 * MIB)}, control=True) as target:
        exports = {"database": ("array", 1), "archive": ("array", 2)}
        with gateway.Gateway({"array": target}, exports, admin="http", target_options={"timeouts": TIMEOUTS}) as server:
            loads = [clients.Fio(server.uri(name), jobs=2, rw="randrw", bs=size, iodepth=8, size="64m",
                                 offset_increment="64m", time_based=True, runtime=600, rate_iops=rate,
                                 rate_process="poisson").start()
                     for name, size, rate in (("database", "4k", "1500,600"), ("archive", "32k", "150,40"))]
            try:
                browse("picture", server, seconds=115, file=str(pathlib.Path(path).resolve()), name="database", lun=2,
                       control=f"http://127.0.0.1:{target.faults.port}")
            finally:
                for each in loads:
                    each.kill()


if __name__ == "__main__":
    try:
        make_picture(sys.argv[1])
    finally:
        process.kill_all()
