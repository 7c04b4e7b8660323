"""The admin API of a running gateway against its contract, gateway/admin/openapi.yaml: every example of it is replayed
and every answer held against its schema; and what is shown is so."""
import os
import re
import signal
import subprocess
import threading
import time

import jsonschema
import yaml

from admin_api import CONTRACT, ApiCase
from base import MIB, InteropCase, gateway_only
from lib import admin, gateway, npm, openapi, servers, sockets
from lib.process import Child

NPM_TIMEOUT_S = 120


class Document(InteropCase):
    """The contract by itself."""

    def test_examples_are_of_their_schemas(self):
        count = 0
        for operation in CONTRACT.operations():
            for name, body in operation.bodies():
                if body is not None:
                    with self.subTest(operation=str(operation), request=name):
                        CONTRACT.validate(body, operation.body_schema())
            for status in operation.statuses():
                for kind, content in operation.contents(status).items():
                    self.assertIn("examples", content, f"{operation} {status} has no example")
                    for name, example in content["examples"].items():
                        with self.subTest(operation=str(operation), status=status, example=name):
                            CONTRACT.validate(CONTRACT.resolve(example)["value"], content["schema"])
                            count += 1
        self.assertGreater(count, 100)

    def test_a_wrong_value_is_found(self):
        """What the other tests stand on."""
        task = {"itt": 1, "cmd_sn": 1, "cid": 0, "lun": 0, "opcode": "READ(16)", "lba": 0, "length_bytes": 0,
                "state": "running", "overdue": False, "age_seconds": 0.5, "idle_seconds": 0, "deadline_seconds": 0}
        CONTRACT.validate(task, CONTRACT.schema("Task"))
        for wrong in ({"itt": -1}, {"state": "lost"}, {"more": 1}, {"age_seconds": "1"}, {"cid": 65536}):
            with self.assertRaises(jsonschema.ValidationError):
                CONTRACT.validate({**task, **wrong}, CONTRACT.schema("Task"))
        shown = CONTRACT.operation("getOperation").contents(200)["application/json"]["examples"]
        operation = next(CONTRACT.resolve(each)["value"] for each in shown.values())
        with self.assertRaises(jsonschema.ValidationError):
            CONTRACT.validate({**operation, "started_at": "yesterday"}, CONTRACT.schema("Operation"))

    def test_redocly(self):
        quiet = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "CI": "true"}
        argv = [str(npm.installed() / "node_modules/.bin/redocly"), "lint", str(openapi.PATH)]
        done = subprocess.run(argv, env=quiet, text=True, timeout=NPM_TIMEOUT_S, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])
        self.assertNotIn("warning", done.stdout.lower())


@gateway_only
class Replay(ApiCase):
    """Every example of the contract, in the order of the document, and what is answered."""

    def test_everything_without_faults(self):
        client = self.client()
        with self.hung_write(lun=2):
            for operation in CONTRACT.operations():
                if "faults" in operation.item["tags"]:
                    problem = operation.check(self.replay(operation, operation.bodies()[0][1]))
                    self.assertEqual(problem["code"], "not_found")
                    continue
                for name, body in operation.bodies():
                    with self.subTest(operation=str(operation), example=name):
                        self.one(operation, body)
                        self.back()
        client.shutdown()

    def one(self, operation, body):
        answer = self.replay(operation, body)
        value = operation.check(answer)
        self.assertLess(answer.status, 300, answer.body)
        if not isinstance(body, dict):
            return
        if body.get("dry_run"):
            self.assertEqual((answer.status, value["dry_run"]), (200, True))
        if answer.status == 202:
            where = CONTRACT.operation("getOperation")
            target = answer.fields["location"]
            self.eventually(lambda: where.check(admin.get(self.port, target))["state"] != "running", "done")
            self.assertIn(admin.get(self.port, target).json()["outcome"], ("success", "refused"))

    def replay(self, operation, body):
        live = {}
        if operation.path.startswith("/v1/clients/{id}"):
            live["id"] = self.live_client()
        elif operation.path == "/v1/operations/{id}":
            live["id"] = self.begin("/v1/sessions/array/reset-lun", {"lun": 1})["id"]
        if isinstance(body, dict) and "itt" in body:
            body = {**body, "itt": self.live_task()}
        return admin.ask(self.port, operation.method, operation.target(**live), body,
                         "application/json" if operation.method == "POST" else None)

    def live_client(self):
        """A client that nobody else needs."""
        before = {each["id"] for each in self.get("/v1/clients")["clients"]}
        self.kept = getattr(self, "kept", []) + [self.client()]
        return next(each["id"] for each in self.get("/v1/clients")["clients"] if each["id"] not in before)

    def live_task(self):
        """A task that runs: one more write that hangs."""
        fault = self.target.faults.post("hang_task", lun=1, opcode="write", count=1)
        client = self.client()
        thread = threading.Thread(target=client.pwrite, args=(b"\x01" * 4096, 0))
        thread.start()
        self.addCleanup(thread.join, 30)
        self.eventually(lambda: self.target.faults.hits(fault) == 1, "writing")
        return next(task["itt"] for task in self.get("/v1/sessions/array/tasks")["tasks"]
                    if task["lun"] == 1 and task["opcode"] == "WRITE(16)")

    def test_methods(self):
        """Every path answers what the contract has for it, and nothing else."""
        allowed = {}
        for operation in CONTRACT.operations():
            allowed.setdefault(operation.target().partition("?")[0], set()).add(operation.method)
        for path, methods in allowed.items():
            with self.subTest(path=path):
                answer = admin.ask(self.port, "PUT", path, {})
                if path.startswith("/v1/faults"):
                    self.assertEqual(answer.status, 404)
                    continue
                self.assertEqual((answer.status, answer.json()["code"]), (405, "method_not_allowed"))
                told = set(re.split(r", *", answer.fields["allow"])) - {"HEAD"}
                self.assertEqual(told, methods)
                CONTRACT.validate(answer.json(), CONTRACT.schema("Problem"))

    def test_the_document_is_served(self):
        self.assertEqual(yaml.safe_load(admin.get(self.port, "/openapi.yaml").body), CONTRACT.document)


@gateway_only
class Faults(InteropCase):
    """The embedded target in the process of the gateway."""

    def setUp(self):
        self.port = sockets.free_port()
        self.child = Child("nbdgw-demo", servers.gateway_command(
            "demo", "--listen", f"tcp://127.0.0.1:{sockets.free_port()}", "--admin", f"http://127.0.0.1:{self.port}",
            "--size", "16MiB")).start()
        self.addCleanup(self.end)
        self.child.wait_listening(self.port)
        self.child.wait_log("Ctrl-C ends it", 60)  # until the demo's own copy is done, faults would spoil it

    def end(self):
        self.child.send(signal.SIGTERM)
        self.assertEqual(self.child.wait(20), 0)

    def test_examples(self):
        listed, posted, deleted = (CONTRACT.operation(name) for name in ("listFaults", "postFault", "deleteFault"))
        self.assertEqual(listed.check(admin.get(self.port, "/v1/faults")), {"faults": []})
        for _, body in posted.bodies():
            answer = admin.post(self.port, "/v1/faults", body)
            fault = posted.check(answer)
            self.assertEqual(answer.status, 201)
            self.assertEqual(answer.fields["location"], f"/v1/faults/{fault['id']}")
            self.assertEqual(listed.check(admin.get(self.port, "/v1/faults")), {"faults": [fault]})
            for _, nothing in deleted.bodies():
                path = deleted.target(id=fault["id"])
                self.assertEqual(admin.post(self.port, path, nothing).status, 204)
                self.assertEqual(deleted.check(admin.post(self.port, path, nothing))["code"], "no_such_fault")
        self.assertEqual(listed.check(admin.get(self.port, "/v1/faults")), {"faults": []})
        self.assertEqual(admin.get(self.port, "/v1/sessions").json()["sessions"][0]["target"], "target")
        self.assertEqual(admin.ask(self.port, "DELETE", "/v1/faults").status, 405)

    def test_every_kind_is_in_the_contract(self):
        """What the program takes, the contract has, too."""
        kinds = {"hang_lun": {"lun": 7}, "delay": {"delay_ms": 1}, "unit_attention": {"asc": 1, "ascq": 1},
                 "check_condition": {"key": 1, "asc": 1, "ascq": 1}, "digest_error": {"where": "data"},
                 "async_event": {"event": 0}, "login_refuse": {"class": 2, "detail": 0},
                 "redirect": {"to": "127.0.0.1:1"}, "slow_write": {"delay_ms": 1}, "freeze_portal": {"portal": 1},
                 "short_data": {"bytes": 0}, "identity": {"serial": "X"}, "refuse_vpd": {"page": 0x80},
                 "capacity": {"blocks": 1}}
        at_once = {"async_event", "power_loss", "drop_connection"}
        operation = CONTRACT.operation("postFault")
        for kind in CONTRACT.schema("Fault")["properties"]["fault"]["enum"]:
            body = {"fault": kind, **kinds.get(kind, {})}
            if kind not in at_once:
                CONTRACT.validate(body, operation.body_schema())
                fault = operation.check(admin.post(self.port, "/v1/faults", body))
                self.assertEqual(fault["fault"], kind)
                admin.post(self.port, f"/v1/faults/{fault['id']}/delete")
        text = operation.check(admin.post(self.port, "/v1/faults", {"fault": "x"}))["detail"]
        known = re.search(r"one of (.*), found", text).group(1).split(", ")
        self.assertEqual(known, CONTRACT.schema("Fault")["properties"]["fault"]["enum"])

    def test_bad_ones(self):
        for body, field in (('{"fault":"busy","fault":"delay"}', "fault"), ('{"fault":"busy","x":1}', "x"),
                            ('{"fault":"busy","lun":-1}', "lun"), ("{", None), ("[]", None)):
            answer = admin.post(self.port, "/v1/faults", body)
            problem = answer.json()
            self.assertEqual((answer.status, problem["code"], problem.get("field")), (400, "bad_fault", field))
        self.assertEqual(admin.post(self.port, "/v1/faults", {"fault": "busy"}, content_type="text/plain").status, 415)
        self.assertEqual(admin.post(self.port, "/v1/faults/1/delete", {"x": 1}).status, 400)
        self.assertEqual(admin.post(self.port, "/v1/faults/none/delete").status, 404)
        self.assertEqual(admin.get(self.port, "/v1/faults?x=1").status, 400)
        self.assertEqual(admin.get(self.port, "/v1/faults").json(), {"faults": []})
        lines = [line for line in self.child.log().splitlines() if "verb=post_fault" in line]
        self.assertEqual(lines, [])  # the demo logs warnings only


@gateway_only
class Reload(ApiCase):
    def test_report_errors_and_what_changes(self):
        operation = CONTRACT.operation("reloadConfiguration")
        none = operation.check(admin.post(self.port, "/v1/config/reload"))
        self.assertEqual((none["dry_run"], none["changes"], none["needs_restart"]), (False, [], []))
        self.server.exports["more"] = ("array", 2, {"read_only": True})
        del self.server.exports["vol1"]
        self.server.extra["limits"] = {"connections": 7}
        self.server.write_config()
        for dry_run in (True, False):
            report = operation.check(admin.post(self.port, "/v1/config/reload", {"dry_run": dry_run}))
            self.assertEqual(report["dry_run"], dry_run)
            self.assertEqual({(each["kind"], each["object"]) for each in report["changes"]} &
                             {("added", "export more"), ("removed", "export vol1")},
                             {("added", "export more"), ("removed", "export vol1")})
            names = [each["name"] for each in self.get("/v1/exports")["exports"]]
            self.assertEqual("more" in names, not dry_run)
        self.eventually(lambda: [each["name"] for each in self.get("/v1/exports")["exports"]] == ["more", "vol0"],
                        "with the exports of the new configuration")
        self.assertEqual([each["name"] for each in self.get("/v1/config")["exports"]], ["vol0", "more"])
        self.server.config_path.write_text(self.server.config_path.read_text().replace("lun: 1", "lun: -1"))
        answer = admin.post(self.port, "/v1/config/reload")
        problem = operation.check(answer)
        self.assertEqual((answer.status, problem["code"]), (422, "bad_configuration"))
        self.assertEqual((problem["errors"][0]["key"], problem["errors"][0]["file"]),
                         ("exports[0].lun", str(self.server.config_path)))
        self.assertGreater(problem["errors"][0]["line"], 1)
        self.assertEqual(self.get("/v1/exports/vol0")["state"], "online")


@gateway_only
class Reading(ApiCase):
    def test_the_configuration_could_be_a_file(self):
        """What is shown is read back by the strict parser, and is the same again."""
        secrets = {"token_file": self.server.directory / "token", "secret": self.server.directory / "secret"}
        for path in secrets.values():
            path.write_text("not-to-be-seen-anywhere-0123456789\n")
            path.chmod(0o600)
        server = gateway.Gateway({"array": self.target}, {"vol0": ("array", 1, {"description": "Größe"})}, admin="http",
                                 admin_unix=True,
                                 extra={"admin": {"token_file": str(secrets["token_file"])}, "log": {"level": "debug"}},
                                 target_options={"retries": 9, "auth": {"chap": {
                                     "user": "gateway", "secret_file": str(secrets["secret"]), "algorithms": ["md5"]}}})
        self.instead(server)
        operation = CONTRACT.operation("getConfiguration")
        answer = admin.curl("http://localhost/v1/config", unix=server.admin_path)
        shown = operation.check(answer)
        self.assertNotIn("not-to-be-seen", answer.body)
        self.assertEqual(shown["targets"][0]["auth"]["chap"], {
            "user": "gateway", "secret_file": str(secrets["secret"]), "algorithms": ["md5"]})
        self.assertEqual(shown["admin"], {"token_file": str(secrets["token_file"])})
        self.assertEqual(shown["targets"][0]["retries"], 9)
        server.stop()
        server.config_path.write_text(answer.body)
        server.write_config = lambda: None
        server.start()
        self.assertEqual(admin.curl("http://localhost/v1/config", unix=server.admin_path).json(), shown)

    def test_numbers_follow_what_clients_do(self):
        client = self.client()
        for block in range(10):
            client.pwrite(b"x" * 4096, block * 4096)
        client.pread(4096, 0)
        client.flush()
        export = self.get("/v1/exports/vol0")
        counters, latency = export["counters"], export["latency"]
        self.assertEqual((counters["writes"], counters["bytes_written"], counters["reads"], counters["flushes"]),
                         (10, 40960, 1, 1))
        self.assertEqual((latency["write"]["count"], latency["read"]["count"]), (10, 1))
        self.assertGreater(latency["write"]["sum_seconds"], 0)
        self.assertEqual((export["clients"], export["size_bytes"], export["target"], export["lun"]),
                         (1, 32 * MIB, "array", 1))
        shown = self.get("/v1/clients")["clients"][0]
        self.assertEqual(shown["counters"], {"requests": 12, "errors": 0, "bytes_read": 4096, "bytes_written": 40960})
        self.assertRegex(shown["peer"], r"^127\.0\.0\.1:\d+$")
        session = self.session()
        self.assertEqual((session["iqn"], session["state"], session["climb"]), (self.target.iqn, "logged in", None))
        self.assertEqual(self.get("/v1/sessions/array/connections")["connections"][0]["cid"], 0)

    def test_events_are_waited_for(self):
        last = self.get("/v1/events")["last"]
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.get(f"/v1/events?since={last}&wait=20")))
        begin = time.monotonic()
        thread.start()
        self.begin("/v1/sessions/array/reset-lun", {"lun": 1})
        thread.join(20)
        self.assert_within(time.monotonic() - begin, 15, "the answer, when there was something")
        # The first that there is, or both, if the reset was quicker than the question.
        told = answers[0]["events"]
        self.assertEqual((answers[0]["last"], answers[0]["missed"]), (last + len(told), 0))
        if len(told) == 1:
            told = told + self.get(f"/v1/events?since={last + 1}&wait=20")["events"]
        self.assertEqual([(each["kind"], each["rung"]) for each in told],
                         [("rung_begun", "lu_reset"), ("rung", "lu_reset")])
        begin = time.monotonic()
        nothing = self.get(f"/v1/events?since={last + 2}&wait=0.5")
        self.assertEqual(nothing, {"events": [], "last": last + 2, "missed": 0})
        self.assertGreaterEqual(time.monotonic() - begin, 0.5)
        begin = time.monotonic()
        self.assertEqual(self.get(f"/v1/events?since={last + 100}&wait=20")["last"], last + 2)  # from before a restart
        self.assert_within(time.monotonic() - begin, 15, "the answer")
        self.begin("/v1/sessions/array/reset-lun", {"lun": 1})
        one = self.get(f"/v1/events?since={last}&limit=1")
        self.assertEqual((len(one["events"]), one["last"]), (1, last + 1))

    def test_many_wait_and_all_are_answered(self):
        last = self.get("/v1/events")["last"]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.get(f"/v1/events?since={last}&wait=20")))
                   for _ in range(20)]
        for thread in threads:
            thread.start()
        self.begin("/v1/sessions/array/reset-lun", {"lun": 1})
        for thread in threads:
            thread.join(20)
        self.assertEqual(len(answers), 20)
        self.assertTrue(all(answer["events"] for answer in answers))
