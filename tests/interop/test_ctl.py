"""`nbdgw ctl` and the admin API behind it, against the running gateway: what is shown is what there is, and each verb acts."""
import json
import os
import subprocess

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, gateway, servers, workdir
from lib.targets import Embedded, Lun

# Nothing climbs by itself: what happens was asked for.
SLOW = {"command": "100s", "abort": "5s", "lu_reset": "5s", "target_reset": "5s", "nop_interval": "0s", "logout": "2s"}
TIMEOUT_S = 60


@gateway_only
class Ctl(InteropCase):
    def setUp(self):
        self.target = self.use(Embedded({1: Lun(64 * MIB)}, control=True))
        self.server = self.use(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}, admin="http",
                                               admin_unix=True, target_options={"timeouts": SLOW}))
        self.server.child.wait_until(lambda: admin.get(self.server.admin_port, "/readyz").status == 200, "ready")

    def ctl(self, *words, expect=0, address=None):
        argv = servers.gateway_command("ctl", "-a", address or self.server.admin_url(), *words)
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=TIMEOUT_S,
                              env=dict(os.environ))
        self.assertEqual(done.returncode, expect, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def json(self, *words):
        return json.loads(self.ctl("--json", *words))

    def attach(self):
        handle = nbd.NBD()
        handle.set_export_name("vol0")
        handle.connect_tcp("127.0.0.1", str(self.server.port))
        return handle

    def test_what_there_is(self):
        handle = self.attach()
        handle.pwrite(b"x" * 8192, 0)
        self.assertEqual(bytes(handle.pread(4096, 0)), b"x" * 4096)
        status = self.json("status")
        self.assertEqual((status["ready"], status["exports"], status["clients"]),
                         (True, {"total": 1, "online": 1}, 1))
        exported = self.json("exports", "vol0")
        self.assertEqual((exported["counters"]["bytes_written"], exported["counters"]["bytes_read"]), (8192, 4096))
        self.assertEqual(exported["latency"]["write"]["count"], 1)
        self.assertEqual(exported["size_bytes"], 64 * MIB)
        session = self.json("sessions", "array")
        self.assertEqual([c["state"] for c in session["connections"]], ["started"] * 4)
        [client] = self.json("clients")["clients"]
        self.assertEqual((client["export"], client["phase"]), ("vol0", "transmission"))
        for words in (["status"], ["exports"], ["exports", "vol0"], ["sessions"], ["sessions", "array"], ["clients"],
                      ["tasks", "array"], ["operations"], ["config"], ["log"]):
            self.assertNotEqual(self.ctl(*words), "", words)
        self.assertIn("vol0", self.ctl("exports", address=f"unix://{self.server.admin_path}"))
        self.assertIn("404", self.ctl("exports", "none", expect=1))
        handle.shutdown()

    def test_a_hung_task_is_aborted_by_hand(self):
        handle = self.attach()
        hang = self.target.faults.post("hang_task", opcode="read", count=1)
        buffer = nbd.Buffer(4096)
        cookie = handle.aio_pread(buffer, 0)
        while handle.aio_is_processing() or handle.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
            handle.poll(1000)
            if self.target.faults.hits(hang):
                break
        self.server.child.wait_until(lambda: self.target.faults.hits(hang) == 1, "hung up")
        [task] = self.json("tasks", "array")["tasks"]
        self.assertEqual((task["opcode"], task["lun"], task["length_bytes"]), ("READ(16)", 1, 4096))
        self.assertIn("would be done", self.ctl("abort", "array", task["itt"], "--dry-run"))
        operation = self.json("abort", "array", task["itt"])
        self.assertEqual((operation["state"], operation["outcome"]), ("succeeded", "success"))
        while not handle.aio_command_completed(cookie):
            handle.poll(-1)  # it was sent again
        self.assertIn("404", self.ctl("abort", "array", task["itt"], expect=1))
        handle.shutdown()

    def test_every_rung_by_hand(self):
        handle = self.attach()
        for words, rung in ((["reset", "lun", "array", 1], "lu_reset"),
                            (["reset", "target", "array"], "target_warm_reset"),
                            (["reset", "session", "array"], "session_reset"), (["drop", "array", 2], "relogin")):
            last = self.json_lines("events")[-1]["sequence"] if self.json_lines("events") else 0
            self.assertEqual(self.json(*words)["state"], "succeeded", words)
            told = [(event["rung"], event["outcome"]) for event in self.json_lines("events", "--since", last)
                    if event["kind"] == "rung"]
            self.assertIn((rung, "success"), told)
            self.assertEqual(len(handle.pread(4096, 0)), 4096)
        self.assertIn("404", self.ctl("reset", "lun", "array", 7, expect=1))
        self.assertIn("404", self.ctl("drop", "array", 9, expect=1))
        handle.shutdown()

    def json_lines(self, *words):
        return [json.loads(line) for line in self.ctl("--json", *words).splitlines()]

    def test_who_is_let_in(self):
        handle = self.attach()
        for words, back in ((["drain"], ["undrain"]), (["drain", "vol0"], ["undrain", "vol0"])):
            self.ctl(*words)
            with self.assertRaises(nbd.Error):
                self.attach()
            self.assertEqual(len(handle.pread(4096, 0)), 4096)
            self.ctl(*back)
            self.attach().shutdown()
        self.ctl("maint", "vol0")
        with self.assertRaises(nbd.Error):
            handle.pread(4096, 0)
        self.ctl("undrain", "vol0")
        one = self.attach()
        [client] = [c for c in self.json("clients")["clients"] if c["export"] == "vol0"]
        self.assertEqual(self.json("disconnect", client["id"])["state"], "succeeded")
        with self.assertRaises(nbd.Error):
            one.pread(4096, 0)

    def test_rescan(self):
        self.assertIn("would be done: LUN 1 of target array", self.ctl("rescan", "vol0", "--dry-run"))
        said = self.ctl("rescan", "vol0")
        self.assertIn("rescan_export export vol0: succeeded (success)", said)
        self.assertIn("bytes, as before", said)
        self.assertIn("export vol0: lun_rescanned: it has", self.ctl("events"))
        self.assertIn("there is no export nothing", self.ctl("rescan", "nothing", expect=1))

    def test_drain_until_idle(self):
        handle = self.attach()
        self.assertIn("1 client(s) are still attached after 200ms", self.ctl("drain", "--until-idle=200ms", expect=1))
        self.ctl("undrain")
        self.assertIn("no duration", self.ctl("drain", "--until-idle=soon", expect=2))
        for words in (["drain"], ["drain", "vol0"]):
            argv = servers.gateway_command("ctl", "-a", self.server.admin_url(), *words, "--until-idle=20s")
            with subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, text=True) as waiting:
                self.assertIn("no new clients" if len(words) == 1 else "vol0", waiting.stdout.readline())
                self.assertIsNone(waiting.poll())
                handle.shutdown()
                self.assertEqual(waiting.wait(TIMEOUT_S), 0)
            self.ctl("undrain", *words[1:])
            handle = self.attach()
        handle.shutdown()

    def test_log_and_reload(self):
        self.assertIn("then info", self.ctl("log", "debug", "--for", "10m"))
        self.assertIn("info", self.ctl("log", "info"))
        self.assertEqual(self.ctl("reload"), "nothing has changed\n")
        self.server.exports["vol1"] = ("array", 2)
        self.server.write_config()
        self.assertIn("would be added export vol1", self.ctl("reload", "--dry-run"))
        self.assertEqual(self.json("status")["exports"]["total"], 1)
        self.assertIn("added export vol1", self.ctl("reload"))
        self.assertEqual(self.json("status")["exports"]["total"], 2)
        self.server.config_path.write_text("listen: {}\nnonsense: 1\n")
        self.assertIn("nonsense", self.ctl("reload", expect=1))
        self.assertEqual(self.json("status")["exports"]["total"], 2)

    def test_token(self):
        path = workdir.fresh("token") / "token"
        path.write_text("0123456789abcdef0123456789abcdef\n")
        path.chmod(0o600)
        server = self.use(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}, admin="http",
                                          extra={"admin": {"token_file": str(path)}}))
        self.assertIn("401", self.ctl("status", expect=1, address=server.admin_url()))
        self.assertIn("ready", self.ctl("--token-file", path, "status", address=server.admin_url()))
