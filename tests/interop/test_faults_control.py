"""The fault control of `nbdgw target --control`: HTTP as it should be, and faults that NBD clients of a gateway in
front of it feel, or do not."""
import errno
import http.client
import json
import re
import socket
import threading
import time

import nbd

from base import MIB, InteropCase, gateway_only
from lib import gateway, servers, workdir
from lib.process import Child

IQN = "iqn.2026-11.io.nbdgw:faulty"
SIZE = 64 * MIB
BLOCK = 4096
PAGE = 64 * 1024  # of a disk in memory: what takes space as a whole
TIMEOUT_S = 20

# One of every kind that does no harm to a target without initiators, with all that it can say.
SCOPE = {"lun": 1, "cid": 2, "opcode": "write"}
TRIGGER = {"count": 5, "probability": 0.5, "seed": 7, "skip": 1}
KINDS = {
    "hang_task": {"executed": True, **SCOPE, **TRIGGER},
    "hang_lun": {"lun": 1, **TRIGGER},
    "hang_tmf": {"function": 5, "lun": 1, "cid": 2, **TRIGGER},
    "refuse_tmf": {"response": 255, "function": 1, **TRIGGER},
    "tmf_lies": {"response": 0, "delay_ms": 5, "late_answer": True, "function": 2, **TRIGGER},
    "delay": {"delay_ms": 10, **SCOPE, **TRIGGER},
    "drop_connection": {"half_close": True, **SCOPE, **TRIGGER},
    "busy": {**SCOPE, **TRIGGER},
    "task_set_full": {"opcode": 0x2A, **TRIGGER},
    "unit_attention": {"asc": 0x38, "ascq": 7, **SCOPE, **TRIGGER},
    "check_condition": {"key": 3, "asc": 0x11, "ascq": 0, **SCOPE, **TRIGGER},
    "digest_error": {"where": "data", **SCOPE, **TRIGGER},
    "reject": {"reason": 9, "hole": False, **SCOPE, **TRIGGER},
    "async_event": {"event": 1, "parameter1": 1, "parameter2": 2, "parameter3": 3, "cid": 0},
    "freeze_window": {},
    "login_refuse": {"class": 3, "detail": 1, "cid": 1, **TRIGGER},
    "redirect": {"to": "192.0.2.1:3260,1", "permanent": True, **TRIGGER},
    "power_loss": {"asc": 0x29, "ascq": 0, "drop": False},
    "write_protect": {"lun": 1, **TRIGGER},
    "thin_full": {**SCOPE, **TRIGGER},
    "slow_write": {"delay_ms": 1, "after_loss": True, "reset_waits": False, **SCOPE, **TRIGGER},
    "late_data": {"function": 5, "lun": 1, "cid": 0, **TRIGGER},
    "short_data": {"bytes": 512, "good": True, "told": False, **SCOPE, **TRIGGER},
    "freeze_portal": {"portal": 2},
    "identity": {"lun": 1, "serial": "OTHER", "asc": 0x3F, "ascq": 0x0E},
    "refuse_vpd": {"page": 0x83, "lun": 1, "cid": 0, **TRIGGER},
    "write_same_16": {"lun": 1},
    "quiet_login": {},
}
AT_ONCE = ("async_event", "power_loss")
STATES = {"freeze_window", "freeze_portal", "identity", "write_same_16", "quiet_login"}  # hit once, by being there


class FaultyTarget:
    """`nbdgw target --control`, LUN 1 in memory, on ports that it picked itself and told."""
    chap = None
    iqn = IQN

    def __init__(self, control="127.0.0.1:0"):
        self.child = Child("nbdgw-target", servers.gateway_command(
            "target", "--listen", "127.0.0.1:0", "--iqn", IQN, "--lun", f"memory:size={SIZE // MIB}MiB,block=4096",
            "--control", control), directory=workdir.fresh("faulty"))

    def __enter__(self):
        self.child.start().wait_log("control on ")
        self.child.wait_until(lambda: self.child.log().endswith("\n"), "through with its line")
        self.portal = re.search(rf"^{IQN} on (\S+), LUN 1 to 1$", self.child.log(), re.M)[1]
        self.control = re.search(r"^control on (?:http://)?(\S+)$", self.child.log(), re.M)[1]
        return self

    def __exit__(self, *_):
        self.child.kill()

    def ask(self, method, path, body=None, headers=None):
        """(status, fields, JSON or text) of one request on a connection of its own. A body that is no bytes is sent as
        JSON."""
        connection = http.client.HTTPConnection(self.control, timeout=TIMEOUT_S)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode()
            is_json = "json" in answer.getheader("Content-Type", "")
            return answer.status, answer.headers, json.loads(text) if is_json else text
        finally:
            connection.close()

    def post(self, kind, **fields):
        status, _, fault = self.ask("POST", "/v1/faults", {"fault": kind, **fields})
        assert status == 201, fault
        return fault

    def get(self, number):
        return next(f for f in self.ask("GET", "/v1/faults")[2]["faults"] if f["id"] == number)

    def delete(self, number):
        status, _, problem = self.ask("DELETE", f"/v1/faults/{number}")
        assert status == 204, problem

    def sessions(self):
        return self.ask("GET", "/v1/sessions")[2]["sessions"]


@gateway_only
class FaultControl(InteropCase):
    """The control itself."""

    def setUp(self):
        self.target = self.use(FaultyTarget())

    def test_every_kind(self):
        ids = []
        for kind, fields in KINDS.items():
            with self.subTest(kind=kind):
                fault = self.target.post(kind, **fields)
                ids.append(fault["id"])
                expected = {"id": fault["id"], "fault": kind, **fields}
                expected |= {"hits": 1, "active": False} if kind in AT_ONCE else {
                    "hits": int(kind in STATES), "active": True}
                self.assertEqual(fault, expected)
                self.assertEqual(self.target.get(fault["id"]), fault)
        self.assertEqual(len(set(ids)), len(KINDS))
        for number in ids[: len(ids) // 2]:
            self.target.delete(number)
            self.assertEqual(self.target.ask("DELETE", f"/v1/faults/{number}")[0], 404)
        left = [fault["id"] for fault in self.target.ask("GET", "/v1/faults")[2]["faults"]]
        self.assertEqual(left, ids[len(ids) // 2:])
        self.assertEqual(self.target.ask("DELETE", "/v1/faults")[0], 204)
        self.assertEqual(self.target.ask("GET", "/v1/faults")[2], {"faults": []})
        self.assertEqual(self.target.child.stop(), 0)

    def test_bad_input(self):
        for status, method, path, body, field in (
                (400, "POST", "/v1/faults", b"", None), (400, "POST", "/v1/faults", b"{", None),
                (400, "POST", "/v1/faults", [], None), (400, "POST", "/v1/faults", {}, "fault"),
                (400, "POST", "/v1/faults", {"fault": "no_such"}, "fault"),
                (400, "POST", "/v1/faults", {"fault": "busy", "lunn": 1}, "lunn"),
                (400, "POST", "/v1/faults", {"fault": "busy", "lun": "1"}, "lun"),
                (400, "POST", "/v1/faults", {"fault": "busy", "lun": 99999}, "lun"),
                (400, "POST", "/v1/faults", {"fault": "delay"}, "delay_ms"),
                (400, "POST", "/v1/faults", {"fault": "hang_lun"}, "lun"),
                (404, "DELETE", "/v1/faults/77", None, None), (404, "DELETE", "/v1/faults/x", None, None),
                (404, "GET", "/v1/fault", None, None), (404, "GET", "/", None, None),
                (405, "PUT", "/v1/faults", {"fault": "busy"}, None), (405, "GET", "/v1/faults/1", None, None),
                (405, "POST", "/v1/sessions", {}, None),
                (413, "POST", "/v1/faults", b" " * 70_000, None), (413, "POST", "/v1/faults", b" " * 4_000_000, None)):
            with self.subTest(method=method, path=path, body=str(body)[:40]):
                got, fields, problem = self.target.ask(method, path, body)
                self.assertEqual(got, status)
                self.assertEqual(fields["Content-Type"], "application/problem+json")
                self.assertEqual({"type", "title", "status", "detail", "code"} - set(problem), set())
                self.assertEqual(problem["status"], status)
                self.assertEqual(problem.get("field"), field)
                self.assertEqual("Allow" in fields, status == 405)
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
            self.assertEqual(self.target.ask("POST", "/v1/faults", {"fault": "busy"},
                                             {"Content-Type": content_type})[0], 415)
        self.assertEqual(self.target.ask("GET", "/v1/faults", headers={"X": "a" * 9000})[0], 431)
        self.assertEqual(self.target.ask("GET", "/v1/faults")[2], {"faults": []})

    def test_silent_clients_only_take_places(self):
        host, port = self.target.control.rsplit(":", 1)
        crowd = [self.use(socket.create_connection((host, int(port)), timeout=TIMEOUT_S)) for _ in range(64)]
        crowd[0].sendall(b"GET /v1/faults HT")
        self.assertEqual(self.target.ask("GET", "/v1/faults")[0], 200, "beyond the places there are")
        try:
            self.assertEqual(crowd[0].recv(1), b"", "the one that has been silent longest")
        except ConnectionResetError:
            pass  # the same: what it had sent was not read
        self.target.child.wait_log("all 64 places are taken")

    def test_unix_socket(self):
        path = workdir.fresh("control") / "control.sock"
        target = self.use(FaultyTarget(f"unix://{path}"))
        self.assertEqual(target.control, f"unix://{path}")
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(TIMEOUT_S)
            s.connect(str(path))
            s.sendall(b"GET /v1/faults HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: s.recv(4096), b""))
        self.assertTrue(answer.endswith(b'\r\n\r\n{"faults":[]}\n'), answer)
        self.assertEqual(target.child.stop(), 0)
        self.assertFalse(path.exists())

    def test_addresses_that_are_refused(self):
        for control in ("0.0.0.0:0", "192.0.2.1:80", "[::]:0", "example.com:80", "127.0.0.1:x", "unix://relative", ""):
            with self.subTest(control=control):
                child = Child("nbdgw-target", servers.gateway_command(
                    "target", "--listen", "127.0.0.1:0", "--iqn", IQN, "--lun", "memory:size=1MiB",
                    "--control", control), directory=workdir.root()).start()
                self.assertEqual(child.wait(TIMEOUT_S), 2, child.log())
        taken = Child("nbdgw-target", servers.gateway_command(
            "target", "--listen", "127.0.0.1:0", "--iqn", IQN, "--lun", "memory:size=1MiB",
            "--control", self.target.control), directory=workdir.root()).start()
        self.assertEqual(taken.wait(TIMEOUT_S), 1)
        self.assertIn("another program listens there", taken.log())
        self.assertIn("--control", taken.log())


@gateway_only
class FaultsFelt(InteropCase):
    """Faults between the target and a gateway, as an NBD client sees them."""

    def setUp(self):
        self.target = self.use(FaultyTarget())
        self.gateway = self.use(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}))
        self.client = nbd.NBD()
        self.client.connect_uri(self.gateway.uri())
        self.client.pwrite(b"a" * BLOCK, 0)
        self.client.flush()

    def tearDown(self):
        self.target.ask("DELETE", "/v1/faults")
        self.client.shutdown()
        self.gateway.stop()

    def read(self, offset=0):
        return self.client.pread(BLOCK, offset)

    def writable(self):
        try:
            self.client.pwrite(b"c" * BLOCK, 0)
            return True
        except nbd.Error as e:
            self.assertEqual(e.errnum, errno.EPERM, e)
            return False

    def refused(self, number, operation, *arguments):
        with self.assertRaises(nbd.Error) as refused:
            operation(*arguments)
        self.assertEqual(refused.exception.errnum, number, refused.exception)

    def test_medium_error_reaches_the_client(self):
        fault = self.target.post("check_condition", key=3, asc=0x11, ascq=0, opcode="read")
        self.refused(errno.EIO, self.read)
        self.target.delete(fault["id"])
        self.assertEqual(self.read(), b"a" * BLOCK)

    def test_what_passes_is_retried(self):
        for kind, fields in (("busy", {}), ("task_set_full", {}), ("unit_attention", {"asc": 0x3F, "ascq": 3}),
                             ("check_condition", {"key": 0xB, "asc": 0, "ascq": 0})):
            with self.subTest(kind=kind):
                fault = self.target.post(kind, count=2, opcode="read", **fields)
                self.assertEqual(self.read(), b"a" * BLOCK)
                self.assertEqual({k: self.target.get(fault["id"])[k] for k in ("hits", "active")},
                                 {"hits": 2, "active": False})

    def test_delay(self):
        self.target.post("delay", delay_ms=300, opcode="read", count=1)
        begin = time.monotonic()
        self.assertEqual(self.read(), b"a" * BLOCK)
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)

    def test_what_hangs_is_seen_and_goes_on_when_its_fault_is_deleted(self):
        fault = self.target.post("hang_task", opcode="write")
        writer = threading.Thread(target=self.client.pwrite, args=(b"b" * BLOCK, 0))
        writer.start()
        tasks = []

        def hung():
            # the gateway's own INQUIRY and REPORT LUNS may be under way beside the write
            tasks[:] = [task for session in self.target.sessions() for task in session["tasks"] if task["opcode"] == 0x8A]
            return len(tasks) == 1 and tasks[0]["state"] == "ready"
        self.target.child.wait_until(hung, "holding the write")
        self.assertEqual({k: tasks[0][k] for k in ("lun", "opcode", "state")},
                         {"lun": 1, "opcode": 0x8A, "state": "ready"})
        self.assertTrue(writer.is_alive())
        self.target.delete(fault["id"])
        writer.join(TIMEOUT_S)
        self.assertFalse(writer.is_alive())
        self.assertEqual(self.read(), b"b" * BLOCK)

    def test_dropped_connections(self):
        before, = self.target.sessions()
        self.assertEqual(before["initiator"], servers.INITIATOR)
        self.target.child.wait_until(lambda: len(self.target.sessions()[0]["connections"]) == 4, "joined by all")
        for fields in ({}, {"cid": 2}, {"opcode": "read", "count": 1}, {"opcode": "read", "count": 1, "half_close": True}):
            with self.subTest(**fields):
                was, = self.target.sessions()
                fault = self.target.post("drop_connection", **fields)
                self.assertEqual(self.read(), b"a" * BLOCK)
                self.assertEqual(self.target.get(fault["id"])["hits"], 1)
                self.target.child.wait_until(lambda: [s["tsih"] for s in self.target.sessions()] not in ([], [was["tsih"]]),
                                             "logged in to again")
                self.target.child.wait_until(lambda: len(self.target.sessions()[0]["connections"]) == 4, "joined by all")
        peers = [connection["peer"] for connection in self.target.sessions()[0]["connections"]]
        self.assertEqual(len(set(peers)), 4, peers)
        self.assertTrue(all(peer.startswith("127.0.0.1:") for peer in peers), peers)

    def test_write_protection_and_a_full_pool(self):
        fault = self.target.post("write_protect", lun=1)
        self.refused(errno.EPERM, self.client.pwrite, b"c" * BLOCK, 0)
        self.assertEqual(self.read(), b"a" * BLOCK)
        self.target.delete(fault["id"])
        self.assertEqual(self.read(), b"a" * BLOCK)  # brings the unit attention that makes the gateway look again
        self.gateway.child.wait_until(self.writable, "aware that the LUN can be written")
        fault = self.target.post("thin_full")
        self.client.pwrite(b"d" * BLOCK, BLOCK)  # takes no new space
        self.refused(errno.ENOSPC, self.client.pwrite, b"e" * BLOCK, PAGE)
        self.target.delete(fault["id"])
        self.client.pwrite(b"e" * BLOCK, PAGE)

    def test_logins_refused_for_a_while(self):
        refused = self.target.post("login_refuse", **{"class": 3, "detail": 1, "count": 2})
        self.target.post("drop_connection")
        self.assertEqual(self.read(), b"a" * BLOCK)
        self.assertEqual(self.target.get(refused["id"])["hits"], 2)

    def test_power_loss_takes_what_was_not_flushed(self):
        self.client.pwrite(b"b" * BLOCK, BLOCK)
        self.client.flush()
        self.client.pwrite(b"c" * BLOCK, 0)
        self.client.pwrite(b"c" * BLOCK, 2 * BLOCK, nbd.CMD_FLAG_FUA)
        self.assertEqual(self.read(), b"c" * BLOCK)
        self.target.post("power_loss")
        self.assertEqual(self.read(), b"a" * BLOCK)
        self.assertEqual(self.read(BLOCK), b"b" * BLOCK)
        self.assertEqual(self.read(2 * BLOCK), b"c" * BLOCK)
