"""Lets Prometheus (promtool) run every query of the dashboards over made-up series of the whole catalogue: each must
be understood, match one-to-one where it must, and show something."""
import itertools
import json
import re

import boards
from names import VALUES

MINUTES = 20
TARGETS = ({"job": "nbdgw", "instance": "gw1:9810"}, {"job": "nbdgw", "instance": "gw2:9810"})
# Labels without a fixed set of values, and what is enough of those that have many.
SAMPLES = {"export": ["vol0", "vol1"], "session": ["array"], "cid": ["0", "1"], "shard": ["0"], "opcode": ["a", "b"],
           "version": ["1.0"], "code": ["200"], "verb": ["drain"], "sense_key": ["not_ready"], "reason": ["disc"]}


def _values(metric, label):
    fixed = VALUES.get((metric.name, label)) or VALUES.get(label)
    return sorted(fixed) if fixed else SAMPLES[label]


def series(catalogue):
    """Input of promtool: everything grows; gauges that are states are 0 for a while, then 1."""
    found = []
    for metric in catalogue.metrics.values():
        names = sorted(metric.labels)
        for target in TARGETS:
            for combination in itertools.product(*(_values(metric, label) for label in names)):
                labels = {**target, **dict(zip(names, combination))}
                found += _of(metric, labels, catalogue.buckets)
    return found


def _of(metric, labels, bounds):
    if metric.kind == "counter":
        return [_series(metric.name, labels, f"0+3x{MINUTES}")]
    if metric.kind == "gauge":
        return [_series(metric.name, labels, f"0x{MINUTES // 2} 1x{MINUTES // 2}")]
    ends = [f"{bound:g}" for bound in bounds] + ["+Inf"]
    buckets = [_series(metric.name + "_bucket", {**labels, "le": end}, f"0+{i + 1}x{MINUTES}")
               for i, end in enumerate(ends)]
    return [*buckets, _series(metric.name + "_sum", labels, f"0+2x{MINUTES}"),
            _series(metric.name + "_count", labels, f"0+{len(ends)}x{MINUTES}")]


def _series(name, labels, values):
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


def filled_in(expr):
    """As Prometheus gets it if everything is chosen."""
    return re.sub(r"\$\{?(instance|export|session)\}?", ".*", boards.plain(expr))




def write(folder, catalogue, found, recording_rules, recording_groups):
    """Rules of all queries, and a test that each gives something; returns (path of the test, names by query)."""
    queries = {f"dashboard:query:{i}": (f"{board.path.name}: {where}", filled_in(expr)) for i, (board, where, expr) in
               enumerate((board, where, expr) for board in found for where, expr, _ in boards.expressions(board))}
    rules = folder / "queries.yaml"
    rules.write_text(json.dumps({"groups": [{"name": "queries", "rules": [
        {"record": name, "expr": expr} for name, (_, expr) in queries.items()]}]}))
    tests = folder / "queries.test.yaml"
    tests.write_text(json.dumps({
        "rule_files": [str(path) for path in recording_rules] + [str(rules)], "evaluation_interval": "1m",
        "group_eval_order": [*recording_groups, "queries"], "tests": [{
            "interval": "1m", "input_series": series(catalogue),
            "promql_expr_test": [{"expr": f"count(count_over_time({name}[{MINUTES}m])) > bool 0",
                                  "eval_time": f"{MINUTES}m", "exp_samples": [{"labels": "{}", "value": 1}]}
                                 for name in queries]}]}))
    return tests, queries
