"""The gateway in front of the kernel's own iSCSI target: four connections that keep the order of commands, and every rung
of the ladder with a target that answers for what it does."""
import contextlib
import threading
import time

import nbd
from lib import api, case, clients, process, workdir
from lib.gateway import Gateway
from lib.targets import Chap
from lio import MIB, Lio

CONNECTIONS = 4
# Short, but an emulated processor needs a second for what a real one does in ten milliseconds.
TIMEOUTS = {"command": "3s", "abort": "3s", "lu_reset": "3s", "target_reset": "3s", "nop_interval": "2s",
            "nop_timeout": "5s", "login": "10s", "logout": "5s", "replacement": "120s"}
# Nothing climbs by itself: what is done is done by hand.
BY_HAND = {**TIMEOUTS, "command": "60s", "abort": "30s", "lu_reset": "30s", "target_reset": "30s"}
BLOCK = 4096
KILLS = 6
HELD_AT = 32 * MIB  # where fio does not write


def fio(uri, **options):
    """fio over four NBD connections, until it is interrupted: writes, reads back and compares."""
    return clients.Fio(uri, jobs=4, rw="randwrite", bs="16k", iodepth=4, size="4m", offset_increment="4m",
                       verify="crc32c", verify_fatal=1, verify_backlog=32, time_based=True, runtime=600, rate_iops=100,
                       **options)


class LioCase(api.Api, case.Case):
    """One guest for all tests of a class; each has a gateway of its own."""

    @classmethod
    def setUpClass(cls):
        cls.target = cls.enterClassContext(Lio())
        print(f"     the guest was there after {cls.target.guest.boot_s:.1f} s", flush=True)

    def serve(self, timeouts=None, extra=None, **options):
        """A gateway: export vol1 is LUN 1, fileio, and vol2 is LUN 2, which can be held."""
        self.server = self.use(Gateway({"array": self.target}, {"vol1": ("array", 1), "vol2": ("array", 2)}, CONNECTIONS,
                                       {"timeouts": timeouts or BY_HAND, **options}, admin="http", extra=extra))
        self.port = self.server.admin_port
        # With a logout, whatever the test comes to. A gateway that is killed and one that follows within milliseconds
        # are too much for LIO: it panics when it is to replace a session whose connections it is closing.
        self.addCleanup(lambda: self.server.child.alive() and self.server.stop())
        self.ready()
        self.back()

    def rungs(self, *names):
        """"RUNG OUTCOME" of what the ladder did, in order; of these rungs only, if any are named."""
        events = [event for event in self.get("/v1/events")["events"] if event["kind"] == "rung"]
        return [f"{event['rung']} {event['outcome']}" for event in events if not names or event["rung"] in names]

    @contextlib.contextmanager
    def under_load(self, *exports):
        """Something is done while fio writes; it must have seen no error, and go on afterwards."""
        running = {export: fio(self.server.uri(export)).start() for export in exports}
        for load in running.values():
            self.addCleanup(load.kill)
        self.flowing(*exports)
        yield
        self.flowing(*exports)
        for export, load in running.items():
            self.assertIsNone(load.process.poll(), f"fio on {export} ended by itself: it saw an error")
            load.interrupt()
            self.assertGreater(load.finish()["read"]["total_ios"], 0, "fio read nothing back")
            self.assertEqual(self.get(f"/v1/exports/{export}")["counters"]["errors"], 0)

    def flowing(self, *exports, requests=200):
        """Waits until each export has answered so many requests more: all that was asked before is then among them."""
        def answered(export):
            latency = self.get(f"/v1/exports/{export}")["latency"]
            return latency["read"]["count"] + latency["write"]["count"]
        start = {export: answered(export) for export in exports}
        self.server.child.wait_until(lambda: all(answered(export) >= start[export] + requests for export in exports),
                                     "answering")

    @contextlib.contextmanager
    def held_write(self):
        """A write to LUN 2 hangs below the target while the block runs, and is answered after it."""
        client = nbd.NBD()
        client.set_export_name("vol2")
        client.connect_tcp("127.0.0.1", str(self.server.port))
        self.target.hold()
        writer = threading.Thread(target=client.pwrite, args=(b"\x5a" * BLOCK, HELD_AT))
        writer.start()
        try:
            self.eventually(self.held_task, "writing")
            yield
        finally:
            self.target.release()
            writer.join(60)
        self.assertFalse(writer.is_alive(), "the write was never answered")
        self.assertEqual(client.pread(BLOCK, HELD_AT), b"\x5a" * BLOCK)
        client.shutdown()

    def held_task(self):
        tasks = self.get("/v1/sessions/array/tasks")["tasks"]
        return next((task for task in tasks if task["opcode"] == "WRITE(16)" and task["lun"] == 2), None)

    def ask(self, path, body=None):
        """Begins something that is answered only once the LUN goes on: a function that gives its operation then."""
        where = self.post(f"/v1/sessions/array/{path}", body or {}, status=202)["id"]

        def operation():
            self.eventually(lambda: self.get(f"/v1/operations/{where}")["state"] != "running", "done with it")
            return self.get(f"/v1/operations/{where}")
        return operation


class Data(LioCase):
    """What arrives is what was sent, whatever was negotiated."""

    def test_01_four_connections(self):
        self.serve()
        self.copied(size="4m")
        session = self.session()
        sent = [connection["counters"]["pdus_sent"] for connection in session["connections"]]
        self.assertEqual(len(sent), CONNECTIONS)
        self.assertGreater(min(sent), max(sent) // 4, f"commands on the connections: {sent}")
        self.assertEqual(self.target.group("dynamic_sessions").strip("\0\n "), "iqn.2026-11.io.nbdgw:host-1")
        self.assertEqual((session["counters"]["logins"], session["counters"]["rejects"]), (1, 0))
        self.server.stop()
        # The kernel of Debian 13 takes a moment.
        self.target.guest.wait_until(f"! grep -q iqn {self.target.group_path('dynamic_sessions')}",
                                     "rid of the session that was logged out", 10)

    def test_02_unmap_write_same_fua_flush(self):
        self.serve(after_silence="trust")  # commands are counted
        for lun in (1, 2):
            with self.subTest(lun=lun):
                uri = self.server.uri(f"vol{lun}")
                unit = self.get(f"/v1/exports/vol{lun}")["unit"]
                self.assertEqual({name: unit[name] for name in ("unmap", "write_same", "write_cache", "dpofua")},
                                 {"unmap": True, "write_same": True, "write_cache": True, "dpofua": True})
                clients.qemu_io(uri, "write -P 0x44 40M 8M", "read -P 0x44 40M 8M", "flush")
                before = self.target.allocated(lun)
                clients.qemu_io(uri, "discard 41M 2M")
                self.assertEqual(self.target.allocated(lun), before - 2 * MIB)
                clients.qemu_io(uri, "write -z 44M 1M", "read -P 0 44M 1M", "read -P 0x44 45M 1M", "read -P 0x44 43M 1M",
                                "write -z -u 46M 1M", "read -P 0 46M 1M", "read -P 0x44 47M 1M", "write -z 47M 1536",
                                "read -P 0 47M 1536", "read -P 0x44 49284608 4k")
                client = nbd.NBD()
                client.connect_uri(uri)
                commands = self.target.commands(lun)
                client.pwrite(b"f" * BLOCK, 0, nbd.CMD_FLAG_FUA)
                self.assertEqual(self.target.commands(lun), commands + 1, "a write with the FUA bit, and no flush")
                client.flush()
                self.assertEqual(self.target.commands(lun), commands + 2)
                client.shutdown()

    def test_03_digests(self):
        self.serve(header_digest="crc32c", data_digest="crc32c")
        for connection in self.session()["connections"]:
            self.assertEqual((connection["header_digest"], connection["data_digest"]), (True, True))
        self.copied()
        self.assertEqual(self.session()["counters"]["digest_errors"], 0)

    def test_04_unsolicited_data(self):
        self.target.set_group(param__InitialR2T="No", param__FirstBurstLength=262144)
        self.addCleanup(self.target.set_group, param__InitialR2T="Yes", param__FirstBurstLength=65536)
        self.serve(immediate_data=False)
        self.copied()

    def test_05_chap(self):
        self.addCleanup(self.target.require_chap, None)
        for chap in (Chap("gateway", "a secret of ours"),
                     Chap("gateway", "a secret of ours", "array", "and one of theirs")):
            with self.subTest(mutual=bool(chap.mutual_user)):
                self.target.require_chap(chap)
                self.serve()
                self.copied()
                self.server.stop()

    def test_06_wrong_secret(self):
        self.addCleanup(self.target.require_chap, None)
        self.target.require_chap(Chap("gateway", "a secret of ours"))
        self.target.chap.secret = "not the one"
        server = self.use(Gateway({"array": self.target}, {"vol1": ("array", 1)}))
        server.child.wait_log("authentication", 30)
        self.assertNotIn("logged in to", server.child.log())

    def copied(self, size="2m"):
        """Written, read back and compared, in pieces large and small, over four NBD connections."""
        for export in ("vol1", "vol2"):
            result = clients.Fio(self.server.uri(export), jobs=4, rw="randwrite", bsrange="512-512k", blockalign=512,
                                 iodepth=4, size=size, offset_increment="4m", verify="crc32c", verify_fatal=1).run()
            self.assertGreater(result["read"]["total_ios"], 0, "nothing was read back")


class Killed(LioCase):
    """The gateway is killed under load, and the next one is there at once. It waits before its first login until LIO has
    closed the old connections, during which it panics if their session is replaced."""

    def test_01_again_and_again(self):
        self.serve(extra={"state_dir": str(workdir.fresh("state"))})
        for number in range(KILLS):
            load = fio(self.server.uri("vol1")).start()
            self.addCleanup(load.kill)
            self.flowing("vol1", requests=50)
            killed = time.monotonic()
            self.server.child.kill()
            load.kill()
            self.server.start()
            self.ready()
            self.back()
            print(f"     kill {number + 1}: back after {time.monotonic() - killed:.1f} s", flush=True)
        self.target.guest.check("true")


class Ladder(LioCase):
    """A task below the target hangs, and is ended by every rung."""

    def test_01_abort_task(self):
        """LIO answers an abort once the command is really over; it is sent again then."""
        self.serve()
        with self.held_write():
            operation = self.ask("abort-task", {"itt": self.held_task()["itt"]})
        self.assertEqual(operation()["outcome"], "success")
        self.assertEqual(self.rungs(), ["abort_task success"])

    def test_02_lun_reset(self):
        self.serve()
        with self.under_load("vol1"):
            with self.held_write():
                operation = self.ask("reset-lun", {"lun": 2})
            self.assertEqual(operation()["outcome"], "success")
        self.assertEqual(self.rungs(), ["lu_reset success"])

    def test_03_what_lio_does_not_know(self):
        """Resets of the whole target, and task sets; its answer is told, and the task goes on."""
        self.serve()
        with self.held_write():
            for path, body, outcome in (("reset-target", {}, "not_found"), ("abort-task-set", {"lun": 2}, "refused"),
                                        ("clear-task-set", {"lun": 2}, "refused")):
                self.assertEqual(self.ask(path, body)()["outcome"], outcome, path)
        self.assertEqual(self.session()["counters"]["losses"], 0)

    def test_04_session_reset_again_and_again(self):
        """With commands under way on all connections, which LIO has to end while the next login is on its way."""
        self.serve()
        with self.under_load("vol1", "vol2"):
            for number in range(4):
                self.assertEqual(self.begin("/v1/sessions/array/reset")["outcome"], "success")
                self.back()
                self.flowing("vol1", "vol2", requests=50)
                self.assertEqual(self.begin(f"/v1/sessions/array/connections/{number}/drop")["outcome"], "success")
                self.back()
                self.flowing("vol1", "vol2", requests=50)
        self.assertEqual(self.session()["counters"]["losses"], 8)

    def test_05_held_until_the_abort(self):
        """The deadline passes, the ladder asks for an abort, and while that waits the LUN goes on."""
        self.serve({**BY_HAND, "command": "3s"})
        with self.under_load("vol2"):
            self.target.hold()
            self.eventually(lambda: (self.session()["climb"] or {}).get("rung") == "abort_task", "aborting")
            self.target.release()
            self.eventually(lambda: self.rungs("abort_task"), "done with the abort")
        self.assertEqual(set(self.rungs("abort_task")), {"abort_task success"})
        self.assertEqual(self.session()["counters"]["losses"], 0)

    def test_06_held_until_the_session_is_reset(self):
        """Nothing is answered: the abort is late, the session is given up. The next login waits until LIO is done with
        the old one, which is when the LUN goes on; then all is sent again."""
        self.serve(TIMEOUTS)
        with self.under_load("vol1", "vol2"):
            self.target.hold()
            self.eventually(lambda: "session_reset success" in self.rungs(), "rid of the session")
            held_s = 3
            time.sleep(held_s)  # what the gateway must not do meanwhile is log in
            self.assertEqual(self.session()["counters"]["logins"], 1)
            self.assertIn("does not close connection", self.server.child.log())
            self.target.release()
            self.back()
        self.assertEqual(self.rungs("abort_task", "session_reset", "relogin"),
                         ["abort_task timed_out", "session_reset success", "relogin success"])

    def tearDown(self):
        self.target.release()
        said = self.target.guest.check("dmesg")
        for trouble in ("BUG:", "Oops", "WARNING:", "hung_task"):
            self.assertNotIn(trouble, said, process.tail(said, 60))
