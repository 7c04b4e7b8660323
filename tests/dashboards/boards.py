"""The Grafana dashboards."""
import json
import re

import promql

UNITS = {"none", "short", "s", "ms", "bytes", "Bps", "reqps", "ops", "cpm", "percentunit", "bool_yes_no"}
# What Grafana puts in place of its variables, for whoever reads the expression without it.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h"}
_USED = re.compile(r"\$\{?(\w+)")
_LEGEND = re.compile(r"{{\s*(\w+)\s*}}")


class Board:
    def __init__(self, path):
        self.path = path
        self.json = json.loads(path.read_text())
        self.panels = [panel for panel in self.json["panels"] if panel["type"] != "row"]
        self.rows = [panel for panel in self.json["panels"] if panel["type"] == "row"]
        self.variables = {variable["name"]: variable for variable in self.json["templating"]["list"]}


def plain(expr):
    """The expression as Prometheus can read it: variables in place of durations are filled in."""
    for name, value in _VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def expressions(board):
    """(where, expression, legend) of everything in it that is asked of Prometheus, label_values() excepted."""
    for panel in board.panels:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"], target.get("legendFormat", "")
    for mark in board.json["annotations"]["list"]:
        if "expr" in mark:
            yield f"annotation {mark['name']}", mark["expr"], mark["textFormat"]


def check(board, names):
    """(what, troubles) for each kind of thing that must be right."""
    name = board.path.name
    yield f"{name}: head", list(_head(board))
    yield f"{name}: variables", list(_variables(board, names))
    yield f"{name}: layout", list(_layout(board))
    for panel in board.panels:
        yield f"{name}: panel {panel['title']}", list(_panel(panel))
    yield f"{name}: no data source but the variable", list(_datasources(board.json, board.path.name))
    yield f"{name}: queries", list(_queries(board, names))


def check_together(boards):
    uids = [board.json["uid"] for board in boards]
    yield "dashboards have uids of their own", [f"{uid} is there twice" for uid in set(uids) if uids.count(uid) > 1]
    titles = [board.json["title"] for board in boards]
    yield "dashboards have titles of their own", [f"{t} is there twice" for t in set(titles) if titles.count(t) > 1]


def _head(board):
    found = board.json
    if not re.fullmatch(r"nbdgw-[a-z-]{1,30}", found.get("uid", "")):
        yield "uid: nbdgw-SOMETHING, up to 40 characters"
    if found.get("schemaVersion") != 38:
        yield "schemaVersion is not that of Grafana 10.0 (38)"
    if found.get("id") is not None:
        yield "id: the uid is what names it, an id is one server's own"
    if "nbdgw" not in found.get("tags", []):
        yield "the tag nbdgw is missing"
    if not any((link["type"], link["tags"], link["includeVars"]) == ("dashboards", ["nbdgw"], True)
               for link in found["links"]):
        yield "no links to the other dashboards"
    if len(found.get("description", "")) < 20:
        yield "no description"


def _variables(board, names):
    source = board.variables.get("datasource", {})
    if (source.get("type"), source.get("query")) != ("datasource", "prometheus"):
        yield "no variable ${datasource} of type prometheus"
    for name, variable in board.variables.items():
        if name == "datasource":
            continue
        if not (variable["multi"] and variable["includeAll"]):
            yield f"{name} must allow several, and all"
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        if asked is None:
            yield f"{name}: {variable['query']['query']} is no label_values(METRIC, LABEL)"
            continue
        try:
            labels, _ = promql.check(asked[1], names)
            if asked[2] not in labels or asked[2] != name:
                yield f"{name}: {asked[1]} has no such label"
        except promql.Mistake as mistake:
            yield f"{name}: {mistake}"
    text = json.dumps(board.json)
    for used in set(_USED.findall(text)) - set(board.variables):
        if not used.startswith("__"):
            yield f"${used} is no variable of it"
    for name in set(board.variables) - set(_USED.findall(text)):
        yield f"${name} is used nowhere"


def _layout(board):
    ids = [panel["id"] for panel in board.json["panels"]]
    if len(set(ids)) != len(ids):
        yield "panels share an id"
    taken = {}
    for panel in board.json["panels"]:
        place = panel["gridPos"]
        if place["w"] < 1 or place["h"] < 1 or place["x"] < 0 or place["x"] + place["w"] > 24:
            yield f"{panel['title']} is not within 24 columns"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    yield f"{panel['title']} lies on {other}"
                    return
    titles = [panel["title"] for panel in board.panels]
    yield from (f"two panels are called {title}" for title in set(titles) if titles.count(title) > 1)


def _panel(panel):
    if len(panel.get("description", "")) < 25:
        yield "the description tells an operator nothing"
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if unit not in UNITS:
        yield f"unit {unit} is none that is used here"
    if not panel["targets"]:
        yield "no query"
    refs = [target["refId"] for target in panel["targets"]]
    if len(set(refs)) != len(refs):
        yield "queries share a refId"
    if panel["type"] == "heatmap" and any(target.get("format") != "heatmap" for target in panel["targets"]):
        yield "the query of a heatmap must have the format heatmap"


def _datasources(node, where):
    """Wherever a data source is named it is the variable, or Grafana's own annotations."""
    if isinstance(node, list):
        for child in node:
            yield from _datasources(child, where)
        return
    if not isinstance(node, dict):
        return
    where = node.get("title") or node.get("name") or where
    for key, child in node.items():
        if key != "datasource":
            yield from _datasources(child, where)
        elif child != {"type": "prometheus", "uid": "${datasource}"} and child.get("uid") != "-- Grafana --":
            yield f"{where}: {child}"


def _queries(board, names):
    for where, expr, legend in expressions(board):
        try:
            labels, metrics = promql.check(plain(expr), names)
        except promql.Mistake as mistake:
            yield f"{where}: {mistake}: {expr}"
            continue
        for used in _LEGEND.findall(legend):
            if used not in labels:
                yield f"{where}: the legend has {used}, the result only {', '.join(sorted(labels)) or 'no label'}"
        if "instance" in labels and "instance" not in legend and legend not in ("", "__auto"):
            yield f"{where}: series of several gateways would have one legend"
        if "build_info" not in expr and "$instance" not in expr and "instance" in board.variables:
            yield f"{where}: ignores the choice of gateways ({', '.join(sorted(metrics))})"
