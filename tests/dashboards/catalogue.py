"""Reads gateway/admin/catalogue.hpp: the metrics there are, with their labels and buckets."""
import dataclasses
import re

# One token of the C++ in that file; a comment or a space is none.
_TOKEN = re.compile(r'//[^\n]*|\s+|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<word>[A-Za-z_]\w*)'
                    r"|(?P<number>\d[\d']*)|(?P<sign>.)")

KINDS = ("counter", "gauge", "histogram")
TARGET_LABELS = frozenset({"job", "instance"})  # Prometheus adds these to everything it scrapes


@dataclasses.dataclass(frozen=True)
class Metric:
    name: str
    kind: str
    unit: str
    help: str
    labels: frozenset  # of the metric itself, without TARGET_LABELS and le


class Catalogue:
    def __init__(self, path, root):
        """`path`: the header; what it includes from `root` on may define the buckets."""
        self.metrics = {}
        self.buckets = []  # upper bounds in seconds
        text = path.read_text()
        for header in [*re.findall(r'^#include "(.*)"$', text, re.MULTILINE), path.relative_to(root)]:
            self._read((root / header).read_text())

    def _read(self, text):
        self._tokens = list(_tokens(text))
        self._at = 0
        while self._at < len(self._tokens):
            if self._follows("Metric") and self._is_name(1) and self._follows("{", 2):
                self._at += 3
                self._metric()
            elif self._follows("kDurationBuckets") and self._follows("{", 1):
                self._at += 2
                self.buckets = [int(text.replace("'", "")) / 1e6 for kind, text in self._until_brace()
                                if kind == "number"]
            else:
                self._at += 1

    def _follows(self, text, ahead=0):
        return self._at + ahead < len(self._tokens) and self._tokens[self._at + ahead][1] == text

    def _is_name(self, ahead):
        return self._at + ahead < len(self._tokens) and self._tokens[self._at + ahead][0] == "word"

    def _until_brace(self):
        """The tokens up to the brace that closes what is open, which is passed over."""
        found, depth = [], 1
        while depth > 0:
            kind, text = self._tokens[self._at]
            self._at += 1
            depth += {"{": 1, "}": -1}.get(text, 0) if kind == "sign" else 0
            found.append((kind, text))
        return found[:-1]

    def _metric(self):
        fields = [""]  # name, kind, unit, help, and a field for each label
        for kind, text in self._until_brace():
            if kind == "sign" and text == ",":
                fields.append("")
            elif kind != "sign":
                fields[-1] += text
        name, what, unit, about = fields[:4]
        if what not in KINDS:
            raise ValueError(f"catalogue: {name}: {what} is no kind of metric")
        labels = frozenset(field for field in fields[4:] if field)
        if name in self.metrics:
            raise ValueError(f"catalogue: {name} is there twice")
        self.metrics[name] = Metric(name, what, unit, about, labels)

    def series(self, name):
        """(metric, labels with the target's and le) of a name as queries use it; None if there is no such series."""
        metric = self.metrics.get(name)
        if metric is not None:
            return None if metric.kind == "histogram" else (metric, metric.labels | TARGET_LABELS)
        base, _, suffix = name.rpartition("_")
        metric = self.metrics.get(base)
        if metric is None or metric.kind != "histogram" or suffix not in ("bucket", "sum", "count"):
            return None
        return metric, metric.labels | TARGET_LABELS | ({"le"} if suffix == "bucket" else set())


def _tokens(source):
    for found in _TOKEN.finditer(source):
        kind = found.lastgroup
        if kind == "text":
            yield kind, re.sub(r"\\(.)", r"\1", found["text"])
        elif kind is not None:
            yield kind, found[kind]
