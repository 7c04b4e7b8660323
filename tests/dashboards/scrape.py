"""Holds what a running gateway shows against the catalogue and against names.py: what the queries ask for by value
must be what there is."""
import re

_LINE = re.compile(r"([A-Za-z_:][\w:]*)(?:{(.*)})? (\S+)(?: \d+)?")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)",?')


def check(text, catalogue, values):
    """`text`: an answer of /metrics."""
    shown, found, odd = set(), {}, []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        series = match and catalogue.series(match[1])
        if not series:
            odd.append(line)
            continue
        metric, _ = series
        labels = dict(_LABEL.findall(match[2] or ""))
        if set(labels) - {"le"} != metric.labels:
            odd.append(f"{line}: the catalogue has {sorted(metric.labels)}")
        shown.add(metric.name)
        for label, value in labels.items():
            found.setdefault((metric.name, label), set()).add(value)
    yield "what is shown is in the catalogue, with its labels", odd[:20]
    yield "what is in the catalogue is shown", sorted(set(catalogue.metrics) - shown)
    yield "labels take the values that queries ask for", list(_unknown(found, values))


def _unknown(found, values):
    for (name, label), there in sorted(found.items()):
        known = values.get((name, label)) or values.get(label)
        if known is None:
            continue
        if there - known:
            yield f"{name}: {label} takes {sorted(there - known)}, which names.py does not have"
        # By metric and label all must be there; by label alone a metric may have some of them.
        if (name, label) in values and known - there:
            yield f"{name}: {label} never takes {sorted(known - there)}"
