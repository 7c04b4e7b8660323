"""A gateway's admin API as a test case uses it: mixed into one that has `server`, a gateway, and `port`,
that of its admin server."""
from . import admin


class Api:
    def ready(self):
        self.eventually(lambda: admin.get(self.port, "/readyz").status == 200, "ready")

    def eventually(self, condition, what):
        self.server.child.wait_until(condition, what)

    def get(self, path):
        answer = admin.get(self.port, path)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def post(self, path, body=None, status=200):
        answer = admin.post(self.port, path, body)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json()

    def begin(self, path, body=None):
        """Something that takes time: its operation once it is over."""
        answer = admin.post(self.port, path, body)
        self.assertEqual(answer.status, 202, answer.body)
        where = answer.fields["location"]
        self.assertEqual(where, f"/v1/operations/{answer.json()['id']}")
        self.eventually(lambda: self.get(where)["state"] != "running", "done with the operation")
        return self.get(where)

    def session(self):
        return self.get("/v1/sessions/array")

    def back(self):
        """Waits until all connections of the session are there."""
        self.eventually(lambda: [each["state"] for each in self.session()["connections"]] == ["started"] * 4,
                        "logged in with all connections")
