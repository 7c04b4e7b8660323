"""The admin API's changes: each really changes something, and a dry run does not."""
import re

import nbd

from admin_api import ApiCase
from base import MIB, gateway_only
from lib import admin, gateway


@gateway_only
class Verbs(ApiCase):
    """What a change really does."""

    def test_abort_of_a_hung_task(self):
        with self.hung_write() as done:
            task = self.hung_task()
            self.assertEqual((task["lun"], task["lba"], task["length_bytes"], task["state"], task["overdue"]),
                             (1, 16, 4096, "running", False))
            preview = self.post("/v1/sessions/array/abort-task", {"itt": task["itt"], "dry_run": True})
            self.assertEqual((preview["verb"], preview["object"]), ("abort_task", f"target array task {task['itt']}"))
            self.assertEqual(self.hung_task()["itt"], task["itt"], "a dry run changed something")
            operation = self.begin("/v1/sessions/array/abort-task", {"itt": task["itt"]})
            self.assertEqual((operation["state"], operation["outcome"]), ("succeeded", "success"))
            self.assertTrue(done.wait(20), "the write was not sent again")
            again = admin.post(self.port, "/v1/sessions/array/abort-task", {"itt": task["itt"]})
            self.assertEqual((again.status, again.json()["code"]), (404, "not_found"))
        event = next(each for each in self.get("/v1/events")["events"] if each.get("operation") == operation["id"])
        self.assertEqual((event["rung"], event["outcome"], event["tasks"], event["lun"]),
                         ("abort_task", "success", 1, 1))
        self.assertEqual([re.search(r"outcome=(\w+)", line).group(1) for line in self.audit("abort_task")],
                         ["dry_run", "accepted", "refused"])

    def test_resets_of_a_lun_and_of_the_target(self):
        for verb, path, body, rung in (("reset_lun", "reset-lun", {"lun": 1}, "lu_reset"),
                                       ("abort_task_set", "abort-task-set", {"lun": 1}, "abort_task_set"),
                                       ("clear_task_set", "clear-task-set", {"lun": 1}, "clear_task_set"),
                                       ("reset_target", "reset-target", {}, "target_warm_reset")):
            with self.subTest(verb=verb), self.hung_write() as done:
                operation = self.begin(f"/v1/sessions/array/{path}", body)
                self.assertEqual((operation["verb"], operation["outcome"]), (verb, "success"), operation)
                self.assertTrue(done.wait(20), "the write was not sent again")
                events = [each for each in self.get("/v1/events")["events"]
                          if each.get("operation") == operation["id"]]
                self.assertEqual([(each["rung"], each["tasks"]) for each in events], [(rung, 1)])

    def test_a_reset_of_another_lun_leaves_the_task_alone(self):
        with self.hung_write():
            itt = self.hung_task()["itt"]
            self.assertEqual(self.begin("/v1/sessions/array/reset-lun", {"lun": 2})["outcome"], "success")
            self.assertEqual(self.hung_task()["itt"], itt)

    def test_session_reset_and_drop(self):
        # The answer to a cold reset may be lost with the session that it ends.
        for path, body, outcomes in (("reset", {}, ("success",)), ("connections/3/drop", {}, ("success",)),
                                     ("reset-target", {"cold": True}, ("success", "failed"))):
            with self.subTest(path=path), self.hung_write() as done:
                self.back()
                before = self.session()
                self.post(f"/v1/sessions/array/{path}", {**body, "dry_run": True})
                self.assertEqual(self.session()["counters"]["losses"], before["counters"]["losses"])
                operation = self.begin(f"/v1/sessions/array/{path}", body)
                self.assertIn(operation["outcome"], outcomes, operation)
                self.eventually(lambda: self.session()["counters"]["logins"] == before["counters"]["logins"] + 1,
                                "logged in again")
                self.assertTrue(done.wait(20), "the write was not sent again")

    def test_a_reset_that_is_refused_or_not_answered(self):
        refuse = self.target.faults.post("refuse_tmf", count=1)
        operation = self.begin("/v1/sessions/array/reset-lun", {"lun": 1})
        self.assertEqual((operation["state"], operation["outcome"]), ("failed", "refused"))
        self.target.faults.delete(refuse)
        self.target.faults.post("hang_tmf", count=1)
        operation = self.begin("/v1/sessions/array/reset-lun", {"lun": 1})
        self.assertEqual((operation["state"], operation["outcome"]), ("failed", "timed_out"))
        self.back()

    def test_a_session_that_is_away(self):
        self.target.kill()
        self.eventually(lambda: self.session()["state"] != "logged in", "without a session")
        for path in ("reset", "reset-lun", "connections/0/drop"):
            body = {"lun": 1} if path == "reset-lun" else {}
            for dry_run in (True, False):
                answer = admin.post(self.port, f"/v1/sessions/array/{path}", {**body, "dry_run": dry_run})
                self.assertEqual((answer.status, answer.json()["code"]), (409, "wrong_state"))
        export = self.get("/v1/exports/vol0")
        self.assertEqual(export["state"], "offline")
        self.assertNotEqual(export["reason"], "")
        status = self.get("/v1/status")
        self.assertEqual((status["ready"], status["exports"], status["sessions"]),
                         (False, {"total": 2, "online": 0}, {"total": 1, "logged_in": 0}))
        self.assertEqual(status["climbing"], ["array"])

    def test_drain_and_undrain(self):
        client = self.client()
        self.post("/v1/drain", {"dry_run": True})
        self.assertFalse(self.get("/v1/status")["draining"])
        self.assertEqual(self.post("/v1/drain"), {"draining": True})
        self.assertEqual(admin.get(self.port, "/readyz").status, 503)
        status = self.get("/v1/status")
        self.assertEqual((status["draining"], status["ready"], status["clients"]), (True, False, 1))
        with self.assertRaisesRegex(nbd.Error, "(?i)shut"):
            self.client()
        client.pwrite(b"x" * 512, 0)  # it goes on
        self.assertEqual(self.post("/v1/undrain"), {"draining": False})
        self.assertEqual(admin.get(self.port, "/readyz").status, 200)
        self.client().shutdown()

    def test_export_states(self):
        client = self.client()
        path = "/v1/exports/vol0/state"
        self.post(path, {"state": "maint", "dry_run": True})
        self.assertEqual(self.get("/v1/exports/vol0")["admin_state"], "ready")
        self.assertEqual(self.post(path, {"state": "drain"})["admin_state"], "drain")
        with self.assertRaises(nbd.Error):
            self.client()
        self.client("vol1").shutdown()  # the other one is as it was
        client.pwrite(b"x" * 512, 0)
        self.assertEqual(self.post(path, {"state": "maint"})["admin_state"], "maint")
        self.eventually(lambda: self.get("/v1/exports/vol0")["clients"] == 0, "rid of its client")
        self.assertEqual(self.post(path, {"state": "ready"})["admin_state"], "ready")
        self.client().shutdown()

    def test_rescan(self):
        path = "/v1/exports/vol0/rescan"
        size = self.get("/v1/exports/vol0")["size_bytes"]
        client = self.client()
        preview = self.post(path, {"dry_run": True})
        self.assertEqual((preview["verb"], preview["object"]), ("rescan_export", "export vol0"))
        operation = self.begin(path)
        self.assertEqual((operation["state"], operation["outcome"]), ("succeeded", "success"))
        self.assertEqual(operation["detail"], f"it has {size} bytes, as before")
        larger = size + MIB
        grown = self.target.faults.post("capacity", lun=1, blocks=larger // 512)
        operation = self.begin(path)
        self.assertEqual(operation["outcome"], "success")
        self.assertIn(f"it grew from {size} to {larger} bytes", operation["detail"])
        self.assertEqual(self.get("/v1/exports/vol0")["size_bytes"], larger)
        events = [each for each in self.get("/v1/events")["events"] if each["kind"].startswith("lun_")]
        self.assertEqual([each["kind"] for each in events], ["lun_rescanned", "lun_grown", "lun_rescanned"])
        self.assertEqual(events[-1]["operation"], operation["id"])
        # Whoever is attached goes on with what it knows, and sees the new size when it attaches again.
        client.pwrite(b"x" * 512, 0)
        self.assertEqual(client.get_size(), size)
        self.assertEqual(self.client().get_size(), larger)
        self.target.faults.delete(grown)
        operation = self.begin(path)
        self.assertEqual((operation["state"], operation["outcome"]), ("failed", "failed"))
        self.assertIn("the LUN shrank", operation["detail"])
        self.assertEqual(self.get("/v1/exports/vol0")["state"], "refused")
        self.assertEqual(admin.post(self.port, "/v1/exports/nothing/rescan").status, 404)
        self.target.kill()
        self.eventually(lambda: self.session()["state"] != "logged in", "without a session")
        answer = admin.post(self.port, path)
        self.assertEqual((answer.status, answer.json()["code"]), (409, "wrong_state"))

    def test_a_name_with_a_slash(self):
        name = "db/vol 0%ä"
        server = self.instead(gateway.Gateway({"array": self.target}, {name: ("array", 2)}, admin="http"))
        answer = admin.get(server.admin_port, "/v1/exports/db%2Fvol%200%25%C3%A4")
        self.assertEqual((answer.status, answer.json()["name"]), (200, name))
        self.assertEqual(admin.get(server.admin_port, "/v1/exports/db/vol").status, 404)
        path = "/v1/exports/db%2fvol%200%25%c3%a4/state"
        self.assertEqual(admin.post(server.admin_port, path, {"state": "drain"}).json()["admin_state"], "drain")

    def test_disconnect(self):
        client = self.client()
        shown = self.get("/v1/clients")["clients"]
        self.assertEqual(len(shown), 1)
        self.assertEqual((shown[0]["export"], shown[0]["phase"]), ("vol0", "transmission"))
        number = shown[0]["id"]
        self.post(f"/v1/clients/{number}/disconnect", {"dry_run": True})
        client.pread(512, 0)
        operation = self.begin(f"/v1/clients/{number}/disconnect")
        self.assertEqual(operation["outcome"], "success")
        self.assertEqual(admin.get(self.port, f"/v1/clients/{number}").status, 404)
        with self.assertRaises(nbd.Error):
            client.pread(512, 0)
        self.assertEqual(admin.post(self.port, f"/v1/clients/{number}/disconnect").status, 404)

    def test_log_level_and_its_end(self):
        as_configured = {"level": "info", "configured_level": "info", "expires_at": None}
        self.assertEqual(self.get("/v1/log"), as_configured)
        self.post("/v1/log", {"level": "error", "dry_run": True})
        self.assertEqual(self.get("/v1/log"), as_configured)
        changed = self.post("/v1/log", {"level": "debug", "for": "2s"})
        self.assertEqual(changed["level"], "debug")
        self.assertEqual(self.get("/v1/status")["log"]["level"], "debug")
        self.eventually(lambda: "debug http" in self.server.child.log(), "saying more")
        self.eventually(lambda: self.get("/v1/log") == as_configured, "at its configured level again")
        self.assertIn("the log level is info again", self.server.child.log())
        self.post("/v1/log", {"level": "error"})
        self.assertEqual(self.get("/v1/log"), {**as_configured, "level": "error"})
        self.post("/v1/log", {"level": "info"})
        self.assertEqual([re.search(r"detail=\"the log level is (\w+)", line).group(1)
                          for line in self.audit("set_log_level")], ["error", "debug", "error", "info"])

    def test_changes_are_counted_and_written_down(self):
        self.post("/v1/drain", {"dry_run": True})
        self.post("/v1/drain")
        self.post("/v1/undrain")
        admin.post(self.port, "/v1/drain", {"x": 1})
        page = admin.get(self.port, "/metrics").body
        for verb, outcome, count in (("drain", "dry_run", 1), ("drain", "accepted", 1), ("drain", "refused", 1),
                                     ("undrain", "accepted", 1), ("reset_lun", "accepted", 0)):
            self.assertIn(f'nbdgw_admin_changes_total{{verb="{verb}",outcome="{outcome}"}} {count}\n', page)
        lines = self.audit("drain")
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], r'info admin: by="127\.0\.0\.1:\d+" verb=drain object="gateway" dry_run=true '
                                   r'outcome=dry_run detail=".+"')

    def test_who_asks_over_a_socket(self):
        server = self.instead(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}, admin_unix=True))
        answer = admin.curl("http://localhost/v1/drain", "--header", "Content-Type: application/json", "--data", "{}",
                            unix=server.admin_path)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertIn('by="unix', server.child.log())
