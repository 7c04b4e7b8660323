"""What is wrong with a request for the admin API is refused, and changes nothing."""
import json
import re
import socket

from admin_api import CONTRACT, ApiCase
from base import gateway_only
from lib import admin


@gateway_only
class BadInput(ApiCase):
    """The right status and a problem document, and nothing changes."""

    def refused(self, status, code, field=None, **request):
        method, path = request.pop("method", "POST"), request.pop("path", "/v1/drain")
        answer = admin.ask(self.port, method, path, **request)
        problem = answer.json()
        self.assertEqual((answer.status, problem["code"], problem.get("field")), (status, code, field), answer.body)
        self.assertEqual(answer.fields["content-type"], "application/problem+json")
        CONTRACT.validate(problem, CONTRACT.schema("Problem"))
        return problem

    def test_bodies(self):
        state = "/v1/exports/vol0/state"
        array = "/v1/sessions/array/"
        deep = "[" * 1000 + "]" * 1000
        for status, code, field, path, body in (
                (400, "bad_json", None, "/v1/drain", "{"),
                (400, "bad_json", None, "/v1/drain", "{} {}"),
                (400, "bad_json", None, "/v1/drain", b"\xff\xfe"),
                (400, "bad_json", None, "/v1/drain", deep),
                (400, "bad_json", None, "/v1/drain", "null"),
                (400, "bad_json", None, "/v1/drain", "[]"),
                (400, "bad_json", None, "/v1/drain", '"dry_run"'),
                (400, "unknown_field", "dryrun", "/v1/drain", {"dryrun": True}),
                (400, "bad_field", "dry_run", "/v1/drain", {"dry_run": 1}),
                (400, "bad_field", "dry_run", "/v1/drain", {"dry_run": None}),
                (400, "duplicate_field", "dry_run", "/v1/drain", '{"dry_run":true,"dry_run":false}'),
                (400, "duplicate_field", "dry_run", "/v1/drain", '{"dry_run":true,"dry\\u005frun":false}'),
                (400, "missing_field", "state", state, {}),
                (400, "bad_field", "state", state, {"state": "READY"}),
                (400, "bad_field", "state", state, {"state": 1}),
                (400, "missing_field", "lun", array + "reset-lun", {}),
                (400, "bad_field", "lun", array + "reset-lun", {"lun": 16384}),
                (400, "bad_field", "lun", array + "reset-lun", {"lun": -1}),
                (400, "bad_field", "lun", array + "reset-lun", {"lun": 1.5}),
                (400, "bad_field", "lun", array + "reset-lun", {"lun": "1"}),
                (400, "bad_field", "lun", array + "reset-lun", '{"lun":99999999999999999999999}'),
                (400, "missing_field", "itt", array + "abort-task", {"dry_run": True}),
                (400, "bad_field", "itt", array + "abort-task", {"itt": 1 << 32}),
                (400, "bad_field", "cold", array + "reset-target", {"cold": "no"}),
                (400, "unknown_field", "lun", array + "reset-target", {"lun": 1}),
                (400, "missing_field", "level", "/v1/log", {}),
                (400, "bad_field", "level", "/v1/log", {"level": "loud"}),
                *((400, "bad_field", "for", "/v1/log", {"level": "debug", "for": wrong})
                  for wrong in ("", "10", "0s", "-1s", "1.5m", "500ms", "25h", "m", "10 m", 10)),
                (400, "unknown_field", "file", "/v1/config/reload", {"file": "/etc/passwd"}),
                (404, "not_found", None, "/v1/exports/none/state", {"state": "drain"}),
                (404, "not_found", None, "/v1/sessions/none/reset", {}),
                (404, "not_found", None, "/v1/sessions/none/connections/0/drop", {}),
                (404, "not_found", None, array + "connections/9/drop", {}),
                (400, "bad_parameter", "cid", array + "connections/x/drop", {}),
                (400, "bad_parameter", "cid", array + "connections/65536/drop", {}),
                (404, "not_found", None, array + "abort-task", {"itt": 4711}),
                (404, "not_found", None, "/v1/clients/99/disconnect", {}),
                (400, "bad_parameter", "id", "/v1/clients/one/disconnect", {}),
                (404, "not_found", None, "/v1/nothing", {})):
            with self.subTest(path=path, body=str(body)[:80]):
                self.refused(status, code, field, path=path, body=body)
        self.refused(413, "body_too_large", body="x" * (65 * 1024))
        self.refused(400, "unknown_parameter", path="/v1/drain?dry_run=true", body={})
        self.unchanged()

    def test_content_types(self):
        for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx",
                     "application/json5; charset=utf-8"):
            for body in ("{}", ""):
                with self.subTest(kind=kind, body=body):
                    self.refused(415, "bad_content_type", content_type=kind, body=body)
        for kind in ("application/json", "Application/JSON;charset=utf-8", "application/json ; x=y"):
            self.assertEqual(admin.post(self.port, "/v1/drain", {"dry_run": True}, content_type=kind).status, 200)
        self.unchanged()

    def said_to(self, text):
        """All that is answered to these bytes until the gateway closes, one pair of head and body for each answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as stream:
            stream.sendall(text)
            said = b""
            while more := stream.recv(65536):
                said += more
        answers = []
        while said:
            head, _, rest = said.decode().partition("\r\n\r\n")
            length = int(re.search(r"(?im)^Content-Length: (\d+)", head)[1])
            answers.append((head, rest[:length]))
            said = rest[length:].encode()
        return answers

    def test_bodies_without_a_certain_end(self):
        """Nothing is done, and what follows is not taken for a request: whoever passed it on may have seen a body."""
        drain = (b"POST /v1/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%b\r\n\r\n"
                 b'10\r\n{"dry_run":true}\r\n0\r\n\r\n')
        second = (b"POST /v1/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                  b'Content-Length: 16\r\nConnection: close\r\n\r\n{"dry_run":true}')
        for spelling in (b"Transfer-Encoding: chunked", b"transfer-encoding:\tChunked "):
            answers = self.said_to(drain % spelling + second)
            self.assertEqual([head.split()[1] for head, _ in answers], ["200", "200"], answers)
        for status, fields in (
                (400, b"Transfer-Encoding: xchunked"),
                (400, b"Transfer-Encoding: identity"),
                (400, b"Transfer-Encoding: chunked, identity"),
                (400, b"Transfer-Encoding: chunked, chunked"),
                (501, b"Transfer-Encoding: gzip, chunked"),
                (400, b"Transfer-Encoding: chunked;param"),
                (400, b'Transfer-Encoding: "chunked"'),
                (400, b"Transfer-Encoding:"),
                (400, b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
                (400, b"Transfer-Encoding: chunked\r\nContent-Length: 27"),
                (400, b"Content-Length: 27\r\nTransfer-Encoding: xchunked"),
                (400, b"Content-Length: 0\r\nContent-Length: 27"),
                (400, b"Content-Length: +27"),
                (400, b"Content-Length: 27, 27"),
                (413, b"Content-Length: 99999999999")):
            with self.subTest(fields=fields):
                answers = self.said_to(drain % fields + second)
                self.assertEqual([int(head.split()[1]) for head, _ in answers], [status], answers)
                head, body = answers[0]
                self.assertRegex(head, r"(?im)^Content-Type: application/problem\+json")
                self.assertRegex(head, r"(?im)^Connection: close")
                CONTRACT.validate(json.loads(body), CONTRACT.schema("Problem"))
        bare = drain[:drain.index(b"\r\n\r\n") + 4]
        for body in (b"", b'{"dry_run":true}'):
            answers = self.said_to(bare % b"Transfer-Encoding: xchunked" + body + second)
            self.assertEqual([int(head.split()[1]) for head, _ in answers], [400], answers)
        old = (drain % b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0")
        self.assertEqual([int(head.split()[1]) for head, _ in self.said_to(old + second)], [400])
        self.unchanged()
        self.assertEqual(["dry_run=true" in line for line in self.audit("drain")], [True] * 4)  # the good ones

    def test_methods_and_paths(self):
        for method, path in (("GET", "/v1/drain"), ("POST", "/v1/exports"), ("DELETE", "/v1/clients/1"),
                             ("PUT", "/v1/log"), ("PATCH", "/v1/exports/vol0/state")):
            with self.subTest(method=method, path=path):
                self.refused(405, "method_not_allowed", method=method, path=path, body={})
        for path in ("/v1", "/v1/", "/v1/exports/", "/v1/exports/vol0/", "/v2/status", "//v1/status", "/v1/exports/none",
                     "/v1/clients/99", "/v1/sessions/none", "/v1/sessions/none/tasks", "/v1/sessions/none/connections",
                     "/v1/operations/99", "/v1/exports/%FF%00"):
            with self.subTest(path=path):
                self.refused(404, "not_found", method="GET", path=path)
        self.refused(400, "bad_path", method="GET", path="/v1/exports/%4")
        for path in ("/v1/clients/x", "/v1/clients/-1", "/v1/clients/99999999999999999999", "/v1/operations/x"):
            self.refused(400, "bad_parameter", "id", method="GET", path=path)

    def test_queries(self):
        for path in ("/v1/status?x=1", "/v1/exports?verbose", "/v1/config?secrets=1", "/v1/log?level=debug",
                     "/v1/sessions/array/tasks?lun=1", "/v1/operations/1?x", "/v1/events?from=1", "/metrics?match=up",
                     "/openapi.yaml?version=2", "/?theme=dark", "/livez?timeout=1", "/readyz?exclude=vol0",
                     "/startupz?verbos"):
            with self.subTest(path=path):
                name = path.partition("?")[2].partition("=")[0]
                self.refused(400, "unknown_parameter", name, method="GET", path=path)
        for query in ("since=-1", "since=x", "since=", "since=1.5", "since", "limit=0", "limit=4001", "wait=26", "wait=-1",
                      "wait=nan", "wait=inf", "wait=1e1", "wait=0x1", "since=1&since=1"):
            with self.subTest(query=query):
                self.refused(400, "bad_parameter", query.partition("=")[0], method="GET", path=f"/v1/events?{query}")
        self.refused(400, "bad_parameter", method="GET", path="/v1/events?since=%4")
        self.refused(400, "bad_parameter", "verbose", method="GET", path="/readyz?verbose=2")
        self.assertEqual(admin.get(self.port, "/v1/events?%73ince=%30").status, 200)

    def test_log_lines_cannot_be_forged(self):
        admin.post(self.port, "/v1/exports/x%22%0Aadmin:%20by=%22root/state", {"state": "drain"})
        line = self.audit("set_export_state")[-1]
        self.assertIn(r'object="export x\"\x0aadmin: by=\"root"', line)
        self.assertIn("outcome=refused", line)

    def unchanged(self):
        self.assertFalse(self.get("/v1/status")["draining"])
        self.assertEqual({each["admin_state"] for each in self.get("/v1/exports")["exports"]}, {"ready"})
        self.assertEqual(self.get("/v1/log")["level"], "info")
        self.assertEqual(self.get("/v1/operations"), {"operations": []})
        self.assertEqual(self.session()["counters"]["losses"], 0)
        self.assertEqual({each["kind"] for each in self.get("/v1/events")["events"]},
                         {"listener_open", "session_up", "export_online"})
        accepted = re.findall(r'nbdgw_admin_changes_total\{verb="\w+",outcome="accepted"\} (\d+)',
                              admin.get(self.port, "/metrics").body)
        self.assertEqual({*accepted}, {"0"})
