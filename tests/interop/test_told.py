"""No error is silent: what a client is told as an error, and each state that begins or ends, is a line in the log and an
event of the API, with all that it takes to find the cause; and what is told of a state is true."""
import os
import re
import subprocess
import time

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, gateway, metrics, nbdwire, servers
from lib.targets import Embedded, Lun

TIMEOUTS = {"command": "1s", "abort": "1s", "lu_reset": "1s", "target_reset": "1s", "nop_interval": "1s",
            "nop_timeout": "1s", "login": "2s", "logout": "1s", "replacement": "60s"}
FOLD_S = 10  # failures of a kind are told again after so long
MEDIUM_ERROR = {"key": 3, "asc": 0x11, "ascq": 0, "opcode": "read"}


class ToldCase(InteropCase):
    timeouts = TIMEOUTS

    def serve(self, target, started=True, extra=None, **options):
        options = {"timeouts": self.timeouts, **options}
        server = self.use(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, admin="http",
                                          target_options=options, extra=extra))
        if started:
            server.child.wait_until(lambda: admin.get(server.admin_port, "/readyz").status == 200, "ready")
        return server

    def events(self, server, *kinds, since=0):
        found = admin.get(server.admin_port, f"/v1/events?since={since}").json()["events"]
        return [each for each in found if not kinds or each["kind"] in kinds]

    def wait_for(self, server, kind, timeout=20, count=1):
        server.child.wait_until(lambda: len(self.events(server, kind)) >= count, f"telling {kind}", timeout)
        return self.events(server, kind)

    def lines(self, server, pattern):
        return [line for line in server.child.log().splitlines() if re.search(pattern, line)]

    def ctl(self, server, *words):
        argv = [str(each) for each in servers.gateway_command("ctl", "-a", server.admin_url(), *words)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True, env=dict(os.environ)).stdout

    def metric(self, server, name, **labels):
        return metrics.Scrape(server.admin_port)(name, **labels)

    def attach(self, server):
        handle = nbd.NBD()
        handle.set_strict_mode(0)
        handle.set_export_name("vol0")
        handle.connect_tcp("127.0.0.1", str(server.port))
        return handle

    def fails(self, call, number):
        with self.assertRaises(nbd.Error) as caught:
            call()
        self.assertEqual(caught.exception.errnum, number)


@gateway_only
class Failures(ToldCase):
    """What a client gets as an error."""

    def setUp(self):
        self.target = self.use(Embedded({1: Lun(64 * MIB)}, control=True))

    def test_medium_errors(self):
        """The first at once, the others counted and told once."""
        server = self.serve(self.target)
        handle = self.attach(server)
        self.target.faults.post("check_condition", **MEDIUM_ERROR)
        for number in range(20):
            self.fails(lambda: handle.pread(4096, 1 * MIB + number * 4096), 5)  # EIO
        [first] = self.wait_for(server, "request_failed")
        self.assertEqual({name: first[name] for name in ("target", "export", "lun", "request", "error", "offset",
                                                         "length_bytes", "lba", "blocks", "opcode", "tries", "status",
                                                         "sense", "count")},
                         {"target": "array", "export": "vol0", "lun": 1, "request": "read", "error": "NBD_EIO",
                          "offset": MIB, "length_bytes": 4096, "lba": MIB // 512, "blocks": 8, "opcode": "READ(16)",
                          "tries": 1, "status": "check_condition",
                          "sense": {"key": "medium_error", "asc": 0x11, "ascq": 0}, "count": 1})
        self.assertIn("MEDIUM ERROR, unrecovered read error (3/11/00)", first["cause"])
        [line] = self.lines(server, "failed with NBD_EIO")
        self.assertRegex(line, r"error .*export vol0 \(target array, LUN 1\): a READ failed with NBD_EIO, of 4096 bytes at "
                               r"1048576: READ\(16\) of 8 block\(s\) at LBA 2048, sent once: CHECK CONDITION: MEDIUM "
                               r"ERROR, unrecovered read error \(3/11/00\)")
        self.assertRegex(self.ctl(server, "events"), r"array LUN 1  export vol0: read failed with NBD_EIO, 4096 bytes at "
                                                     r"1048576, LBA 2048, READ\(16\) of 8 block\(s\), sent once: CHECK")
        folded = self.wait_for(server, "request_failed", FOLD_S + 10, count=2)[1]
        self.assertEqual((folded["count"], folded["lba"]), (19, (MIB + 19 * 4096) // 512))
        self.assertGreaterEqual(folded["duration_seconds"], FOLD_S - 1)
        self.assertRegex(self.lines(server, "with NBD_EIO")[1],
                         r"a READ failed 19 more time\(s\) with NBD_EIO in .* s, the latest")
        time.sleep(FOLD_S + 1)
        self.assertEqual(len(self.events(server, "request_failed")), 2, "nothing is told where nothing has failed")

    def test_what_a_client_may_not(self):
        """The mistakes of clients are errors, too."""
        server = self.serve(self.target)
        self.fails(lambda: self.attach(server).pread(4096, 1 << 40), 22)  # EINVAL
        [told] = self.wait_for(server, "request_failed")
        self.assertEqual((told["error"], told["request"], told["offset"], "opcode" in told),
                         ("NBD_EINVAL", "read", 1 << 40, False))

    def test_an_error_does_not_push_out_what_explains_it(self):
        """2,000 errors of as many moments, and the rung of before is there."""
        server = self.serve(self.target)
        handle = self.attach(server)
        self.target.faults.post("hang_task", opcode="read", count=1)
        handle.pread(4096, 0)
        self.wait_for(server, "rung")
        self.target.faults.post("check_condition", **MEDIUM_ERROR)
        for number in range(2000):
            self.fails(lambda: handle.pread(4096, 4096 * number), 5)
        kinds = {event["kind"] for event in self.events(server)}
        self.assertLessEqual({"rung", "rung_begun", "session_up", "export_online", "listener_open", "request_failed"}, kinds)
        self.assertLess(len(self.events(server, "request_failed")), 10)
        self.assertEqual(admin.get(server.admin_port, "/v1/events").json()["missed"], 0)

    def test_a_rung_has_a_name_for_now_and_for_done(self):
        server = self.serve(self.target)
        handle = self.attach(server)
        self.target.faults.post("hang_task", opcode="read", count=1)
        handle.pread(4096, 0)
        [begun] = self.wait_for(server, "rung_begun")
        done = [each for each in self.wait_for(server, "rung") if each["rung"] == "abort_task"]
        self.assertEqual((begun["rung"], begun["text"], begun["by_hand"]), ("abort_task", "is aborting a task", False))
        self.assertEqual([each["text"] for each in done], ["aborted a task"])
        self.assertLess(begun["sequence"], done[0]["sequence"])
        self.assertTrue(self.lines(server, r"target array is aborting a task \(LUN 1\): a command is overdue"))


@gateway_only
class Paths(ToldCase):
    """A target that is not there."""

    def setUp(self):
        self.target = self.use(Embedded({1: Lun(64 * MIB)}, control=True))

    def test_the_hold_expires(self):
        self.timeouts = {**TIMEOUTS, "replacement": "3s"}
        server = self.serve(self.target)
        handle = self.attach(server)
        self.target.stop()
        self.fails(lambda: handle.pread(4096, 0), 5)
        [lost] = self.wait_for(server, "session_lost")
        self.assertIn("requests are held until it is back, for 3.0 s at most, then they fail", lost["text"])
        [expired] = self.wait_for(server, "hold_expired")
        self.assertEqual((expired["export"], expired["requests"]), ("vol0", 1))
        self.assertAlmostEqual(expired["duration_seconds"], 3, delta=1)
        self.assertTrue(self.lines(server, r"error .*no path to the LUN for .* s \(timeouts.replacement\)"))
        [failed] = self.wait_for(server, "request_failed")
        self.assertEqual((failed["cause"], failed["error"], failed["lba"]), ("no path to the target", "NBD_EIO", 0))
        for _ in range(4):
            self.fails(lambda: handle.pread(4096, 0), 5)
        self.target.start()
        [over] = self.wait_for(server, "hold_over")
        self.assertEqual(over["requests"], 5)
        [back] = self.events(server, "session_back")
        self.assertGreater(back["duration_seconds"], 3)
        [online] = self.events(server, "export_online")[1:]
        self.assertGreater(online["duration_seconds"], 3)
        self.assertTrue(self.lines(server, r"target array: logged in to .*; there was no session for "))
        self.assertEqual(len(handle.pread(4096, 0)), 4096)

    def test_held_for_as_long_as_it_takes(self):
        """What is said of requests that have to wait is what becomes of them."""
        server = self.serve(self.target, on_path_loss="hold")
        self.target.stop()
        [lost] = self.wait_for(server, "session_lost")
        self.assertRegex(lost["text"], "; requests are held until it is back; it was there for ")

    def test_a_target_that_was_never_there(self):
        """"Down since" is counted from the start, and does not begin anew with each attempt."""
        self.target.stop()
        server = self.serve(self.target, started=False)
        self.wait_for(server, "login_failing")
        [line] = self.lines(server, "target array: no session yet: ")[:1]
        self.assertIn("connect", line)
        before, start = -1, time.monotonic()
        attempts = 0
        while time.monotonic() - start < 6 or attempts < 3:
            session = admin.get(server.admin_port, "/v1/sessions/array").json()
            exported = admin.get(server.admin_port, "/v1/exports/vol0").json()
            self.assertGreater(session["age_seconds"], before)
            self.assertEqual(session["down_seconds"], session["age_seconds"])
            self.assertAlmostEqual(exported["down_seconds"], session["age_seconds"], delta=1)
            before, attempts = session["age_seconds"], session["counters"]["login_failures"]
            self.assert_within(time.monotonic() - start, 30, "attempts")
            time.sleep(0.3)
        self.assertGreater(before, 5)
        self.assertGreater(self.metric(server, "nbdgw_export_path_down_seconds", export="vol0"), 5)
        self.assertGreater(self.metric(server, "nbdgw_iscsi_session_down_seconds", session="array"), 5)
        self.assertRegex(self.ctl(server, "sessions"), r"array +(failed|logging in) +down +[0-9.]+ s ")
        self.assertRegex(self.ctl(server, "exports", "vol0"), r"down for +[0-9.]+ s")
        self.target.start()
        [up] = self.wait_for(server, "session_up")
        self.assertGreater(up["duration_seconds"], 5)
        [online] = self.wait_for(server, "export_online")
        self.assertGreater(online["duration_seconds"], 5)
        self.assertEqual(admin.get(server.admin_port, "/v1/exports/vol0").json()["down_seconds"], 0)
        self.assertEqual(self.metric(server, "nbdgw_export_path_down_seconds", export="vol0"), 0)
        self.assertEqual(len(self.events(server, "login_failing")), 1, "once, however many attempts")

    def test_another_initiator_of_our_name(self):
        """The target ends each session soon after its login."""
        server = self.serve(self.target)
        for number in range(1, 5):
            self.target.faults.post("drop_connection")
            self.wait_for(server, "session_back", count=number)
        [stolen] = self.wait_for(server, "session_stolen")
        self.assertIn("another initiator", stolen["text"])


@gateway_only
class Waiting(ToldCase):
    def test_an_export_that_does_not_come(self):
        """Whoever waits for it in the handshake, and in vain, was turned away."""
        target = Embedded({1: Lun(64 * MIB)})
        server = self.serve(target, started=False, extra={"limits": {"handshake_timeout": "1s"}})
        for _ in range(2):
            with nbdwire.Wire(server.port) as wire:
                wire.greet()
                self.assertEqual(wire.go(b"vol0")[0], nbdwire.UNKNOWN)
        [told] = self.wait_for(server, "clients_refused")
        self.assertEqual((told["reason"], told["export"], told["count"]), ("export_offline", "vol0", 1))
        self.assertIn("did not come online while the client waited", told["text"])
        server.stop()


@gateway_only
class Gateways(ToldCase):
    """States of the gateway itself."""

    def setUp(self):
        self.target = self.use(Embedded({1: Lun(64 * MIB)}, control=True))
        self.server = self.serve(self.target)

    def post(self, path, body=None):
        return admin.ask(self.server.admin_port, "POST", path, body or {})

    def ask_for(self, name):
        with nbdwire.Wire(self.server.port) as wire:
            wire.greet()
            return wire.go(name.encode())[0]

    def test_drains(self):
        self.post("/v1/drain")
        self.assertEqual(self.ask_for("vol0"), nbdwire.SHUTDOWN)
        self.post("/v1/undrain")
        self.post("/v1/exports/vol0/state", {"state": "maint"})
        self.assertEqual(self.ask_for("vol0"), nbdwire.SHUTDOWN)
        self.post("/v1/exports/vol0/state", {"state": "ready"})
        told = self.events(self.server, "drain_begun", "drain_ended", "clients_refused")
        self.assertEqual([(each["kind"], each.get("export"), each.get("reason")) for each in told],
                         [("drain_begun", None, None), ("clients_refused", "vol0", "drained"),
                          ("drain_ended", None, None), ("drain_begun", "vol0", None),
                          ("clients_refused", "vol0", "export_closed"), ("drain_ended", "vol0", None)])
        self.assertTrue(all(each["duration_seconds"] > 0 for each in told if each["kind"] == "drain_ended"))

    def test_clients_that_ask_for_nothing_there_is(self):
        for _ in range(30):
            self.assertEqual(self.ask_for("vol7"), nbdwire.UNKNOWN)
        [first] = self.wait_for(self.server, "clients_refused")
        self.assertEqual((first["reason"], first["count"]), ("unknown_export", 1))
        self.assertIn('"vol7"', first["text"])
        self.assertNotIn("export", first)  # what a client makes up is no name of an export
        self.assertTrue(self.lines(self.server, 'asked for export "vol7" was turned away: there is no export of this name'))
        rest = self.wait_for(self.server, "clients_refused", 2 * FOLD_S + 5, count=2)[1:]
        self.assertEqual(sum(each["count"] for each in rest), 29)

    def test_reloads(self):
        self.assertEqual(self.post("/v1/config/reload").status, 200)
        good = self.server.config_path.read_text()
        self.server.config_path.write_text(good + "\nnonsense: 1\n")
        self.post("/v1/config/reload")
        self.server.config_path.write_text(good)
        told = self.events(self.server, "reload_done", "reload_refused")
        self.assertEqual([each["kind"] for each in told], ["reload_done", "reload_refused"])
        self.assertIn("nonsense", told[1]["text"])

    def test_listeners(self):
        """That for clients, and that of the admin server."""
        ports = (self.server.port, self.server.admin_port)
        opened = " ".join(each["text"] for each in self.events(self.server, "listener_open"))
        for port in ports:
            self.assertIn(f"listening on tcp://127.0.0.1:{port}", opened)
        self.server.stop()
        for port in ports:
            self.assertTrue(self.lines(self.server, f"no longer listening on tcp://127.0.0.1:{port}"))
        self.assertTrue(self.lines(self.server, "the gateway stops: 0 client"))


