#!/usr/bin/python3
"""Writes prometheusrule.yaml beside this file from dashboards/prometheus: the same rules, as an object that Prometheus
Operator takes. tests/deploy checks that they are the same."""
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE.parents[3] / "dashboards" / "prometheus"
HEAD = """# Written by build.py from dashboards/prometheus: change the rules there and run it again.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: nbdgw
spec:
  groups:
"""


def groups(path):
    """The lines below "groups:" of a file of rules, indented to where the object has them."""
    lines = path.read_text().splitlines()
    return ["  " + line if line else "" for line in lines[lines.index("groups:") + 1:]]


def text():
    """What prometheusrule.yaml shall be."""
    lines = groups(RULES / "recording.rules.yaml") + [""] + groups(RULES / "alerting.rules.yaml")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "prometheusrule.yaml").write_text(text())
