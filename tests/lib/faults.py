"""The faults of the embedded target (`nbdgw target --control`), switched over HTTP."""
import http.client
import json

_TIMEOUT_S = 20


class FaultError(AssertionError):
    """The target refused what was asked for: the text has its answer."""


class Faults:
    """The control of one target."""

    def __init__(self, port):
        self.port = port

    def post(self, kind, **fields):
        """Puts a fault into force, and returns its id."""
        return self._ask("POST", "/v1/faults", {"fault": kind, **fields})["id"]

    def get(self, number):
        """A fault as the target tells it: what was posted, with "hits" and "active"."""
        return next(fault for fault in self._ask("GET", "/v1/faults")["faults"] if fault["id"] == number)

    def hits(self, number):
        return self.get(number)["hits"]

    def delete(self, number):
        """Ends it; what it held goes on."""
        self._ask("DELETE", f"/v1/faults/{number}")

    def clear(self):
        self._ask("DELETE", "/v1/faults")

    def sessions(self):
        """Who is logged in, with connections and tasks."""
        return self._ask("GET", "/v1/sessions")["sessions"]

    def _ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {} if body is None else {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise FaultError(f"{method} {path} {body or ''}: {answer.status} {text}")
        return json.loads(text) if text else None
