"""/metrics as programs see it: taken apart, and judged by Prometheus's own tools."""
import json
import re
import subprocess
import urllib.parse
import urllib.request

from . import admin, process, sockets, workdir, yaml_text
from .clients import ClientError

_LINE = re.compile(r'([a-z_]+)(?:\{(.*)\})? (\S+)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
TIMEOUT_S = 30


class Scrape:
    """The series of one answer."""

    def __init__(self, port):
        answer = admin.get(port, "/metrics")
        if answer.status != 200:
            raise AssertionError(f"/metrics answers {answer.status}: {answer.body}")
        self.content_type = answer.fields["content-type"]
        self.text = answer.body
        self.values = dict(self._parse(line) for line in answer.body.splitlines() if not line.startswith("#"))

    @staticmethod
    def _parse(line):
        found = _LINE.fullmatch(line)
        if not found:
            raise AssertionError(f"no line of a series: {line!r}")
        name, labels, value = found.groups()
        pairs = _LABEL.findall(labels or "")
        if labels and _LABEL.sub("", labels):
            raise AssertionError(f"labels that cannot be read: {line!r}")
        return (name, frozenset((k, re.sub(r"\\.", lambda m: _ESCAPES[m.group()], v)) for k, v in pairs)), float(value)

    def __call__(self, name, **labels):
        """The value of one series; KeyError: it is not there."""
        return self.values[name, frozenset(labels.items())]

    def total(self, name, **labels):
        """The sum of all series of a metric that have these labels."""
        wanted = set(labels.items())
        return sum(value for (each, have), value in self.values.items() if each == name and wanted <= have)


def promtool(*arguments, stdin=None):
    """Runs promtool; what it complains of is an error."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=stdin, capture_output=True, text=True,
                          timeout=TIMEOUT_S)
    if done.returncode != 0 or done.stderr:
        raise ClientError(f"promtool {' '.join(map(str, arguments))}\n{process.tail(done.stdout + done.stderr, 40)}")


class Prometheus:
    """A Prometheus server that scrapes one address."""

    def __init__(self, address, interval="1s"):
        self.address = address
        self.interval = interval
        self.port = sockets.free_port()
        self.directory = workdir.fresh("prometheus")
        self.child = None

    def __enter__(self):
        config = self.directory / "prometheus.yml"
        config.write_text(yaml_text.dump({
            "global": {"scrape_interval": self.interval, "scrape_timeout": self.interval},
            "scrape_configs": [{"job_name": "nbdgw", "static_configs": [{"targets": [self.address]}]}]}))
        self.child = process.Child("prometheus", [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}"], directory=self.directory).start()
        self.child.wait_log("Server is ready to receive web requests")
        return self

    def __exit__(self, *_):
        self.child.stop()

    def query(self, expression):
        """The series of an instant query, as (labels, value)."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            result = json.load(answer)["data"]["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def wait_for(self, expression, condition):
        """Asks until the answer is as wanted, and returns it."""
        answers = []

        def there():
            answers.append(self.query(expression))
            return condition(answers[-1])
        self.child.wait_until(there, f"answering {expression} as wanted", TIMEOUT_S)
        return answers[-1]
