"""The recording and alerting rules, their tests, and the runbooks."""
import re

import yaml

import promql

SEVERITIES = {"page", "ticket", "info"}
SECTIONS = ["What it means", "What the gateway does by itself", "How to look", "What to do", "When to escalate"]
_FIELD = re.compile(r"\$labels\.(\w+)")
_TEMPLATE = re.compile(r"{{(.*?)}}")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What `nbdgw ctl` takes; words in capitals stand for names and numbers.
_CTL = re.compile(r"""(?x)
    status | clients | operations | config
  | exports(\ [A-Z]+)? | sessions(\ [A-Z]+)? | tasks\ [A-Z]+ | events(\ --follow|\ --since\ \d+)?
  | (drain|undrain)(\ [A-Z]+)? | maint\ [A-Z]+ | rescan\ [A-Z]+ | disconnect\ [A-Z_]+
  | abort\ [A-Z]+\ [A-Z]+ | drop\ [A-Z]+\ [A-Z]+
  | reset\ (lun\ [A-Z]+\ [A-Z]+|target\ [A-Z]+|session\ [A-Z]+)
  | log(\ (trace|debug|info|warn|error)(\ --for\ \d+(s|m|h))?)? | reload(\ --dry-run)? | --help
""")
# Methods and paths of the admin API; * is a name or a number.
API = {("GET", path) for path in (
    "/livez", "/readyz", "/startupz", "/metrics", "/v1/status", "/v1/exports", "/v1/exports/*", "/v1/clients",
    "/v1/clients/*", "/v1/sessions", "/v1/sessions/*", "/v1/sessions/*/connections", "/v1/sessions/*/tasks",
    "/v1/events", "/v1/config", "/v1/log", "/v1/operations", "/v1/operations/*")} | {("POST", path) for path in (
        "/v1/drain", "/v1/undrain", "/v1/exports/*/state", "/v1/exports/*/rescan", "/v1/clients/*/disconnect",
        "/v1/sessions/*/abort-task", "/v1/sessions/*/reset-lun", "/v1/sessions/*/reset-target", "/v1/sessions/*/reset",
        "/v1/sessions/*/connections/*/drop", "/v1/log", "/v1/config/reload")}


class Rules:
    def __init__(self, folder):
        self.folder = folder
        self.files = sorted(folder.glob("*.rules.yaml"))
        self.tests = sorted((folder / "tests").glob("*.yaml"))
        groups = [group for path in self.files for group in yaml.safe_load(path.read_text())["groups"]]
        loaded = [rule for group in groups for rule in group["rules"]]
        # Those that record come first, as tests want it.
        self.groups = [group["name"] for group in sorted(groups, key=lambda group: "alert" in group["rules"][0])]
        self.recordings = [rule for rule in loaded if "record" in rule]
        self.alerts = [rule for rule in loaded if "alert" in rule]
        self.alert_names = [rule["alert"] for rule in self.alerts]


def check_recordings(rules, names):
    """Also tells `names` of what is recorded; in order, as one rule may use another."""
    for rule in rules.recordings:
        name, troubles = rule["record"], []
        if not re.fullmatch(r"nbdgw:[a-z_]+:[a-z0-9_]+", name):
            troubles.append("the name should be nbdgw:WHAT:OPERATION")
        try:
            names.recorded[name], _ = promql.check(rule["expr"], names)
        except promql.Mistake as mistake:
            troubles.append(str(mistake))
        yield f"recording rule {name}", troubles


def check_alerts(rules, names, root):
    for rule in rules.alerts:
        yield f"alert {rule['alert']}", list(_troubles_of(rule, names, root))
    doubled = {name for name in rules.alert_names if rules.alert_names.count(name) > 1}
    yield "alerts have names of their own", [f"{name} is there twice" for name in sorted(doubled)]


def _troubles_of(rule, names, root):
    name, notes = rule["alert"], rule.get("annotations", {})
    if not re.fullmatch(r"Nbdgw[A-Z][A-Za-z]+", name):
        yield "the name should be NbdgwSomething"
    if rule.get("labels", {}).get("severity") not in SEVERITIES:
        yield f"severity is none of {sorted(SEVERITIES)}"
    if set(notes) != {"summary", "description", "runbook_url"}:
        yield f"annotations are {sorted(notes)}"
    if notes.get("runbook_url") != f"dashboards/runbooks/{name}.md" or not (root / notes["runbook_url"]).is_file():
        yield f"no runbook at {notes.get('runbook_url')}"
    if len(notes.get("description", "")) < 60:
        yield "the description says little"
    try:
        labels, _ = promql.check(rule["expr"], names)
    except promql.Mistake as mistake:
        yield f"expr: {mistake}"
        return
    for text in notes.values():
        for field in _TEMPLATE.findall(text):
            if not re.fullmatch(r"\s*\$(value|labels\.\w+)(\s*\|\s*humanize\w*)?\s*", field):
                yield f"template {field.strip()!r} is not known here"
        for field in _FIELD.findall(text):
            if field not in labels:
                yield f"there is no label {field} in {text!r}, only {', '.join(sorted(labels)) or 'none'}"


def check_cases(rules):
    """Every alert is seen to fire and seen not to, in a test that gives it something to look at."""
    fires, silent, troubles = set(), set(), []
    for path in rules.tests:
        loaded = yaml.safe_load(path.read_text())
        if loaded.get("group_eval_order") != rules.groups:
            troubles.append(f"{path.name}: group_eval_order should be {rules.groups}, or chance decides")
        for case in loaded["tests"]:
            if not case.get("input_series"):
                troubles.append(f"{path.name}: {case.get('name')}: no input")
            for expected in case.get("alert_rule_test", []):
                name = expected["alertname"]
                if name not in rules.alert_names:
                    troubles.append(f"{path.name}: there is no alert {name}")
                (fires if expected.get("exp_alerts") else silent).add(name)
    yield "tests of alerts are about alerts", troubles
    for name in rules.alert_names:
        missing = [f"no test in which it {what}" for what, seen in (("fires", fires), ("does not fire", silent))
                   if name not in seen]
        yield f"alert {name}: both cases", missing


def check_runbooks(rules, names, folder):
    kinds = _event_kinds(folder.parents[1])
    there = {path.stem for path in folder.glob("*.md")} - {"README"}
    without = sorted(there - set(rules.alert_names))
    yield "every runbook has its alert", [f"{name}.md is about no alert" for name in without]
    for path in sorted(folder.glob("*.md")):
        text = path.read_text()
        troubles = [*_troubles_of_page(path.stem, text, names), *_troubles_of_links(path, text),
                    *_troubles_of_events(text, kinds)]
        yield f"runbook {path.stem}", troubles


def check_console(root):
    """Every kind of event has words of its own in the console, none falls back to its name."""
    page = (root / "gateway/admin/console/index.html").read_text()
    for kind in sorted(_event_kinds(root)):
        named = re.search(rf'\b{kind}: ["\[]|=== "{kind}"', page)
        yield f"the console has words for {kind}", [] if named else ["it has none"]


def _event_kinds(root):
    schemas = yaml.safe_load((root / "gateway/admin/openapi.yaml").read_text())["components"]["schemas"]
    return set(schemas["Event"]["properties"]["kind"]["enum"])


def _troubles_of_events(text, kinds):
    """Kinds of events are named as such: the event `x`, the events `x` and `y`."""
    for named in re.findall(r"[Ee]vents?\s((?:`[a-z_]+`(?:, |,\s| and |\sand\s| or )?)+)", text):
        for kind in re.findall(r"`([a-z_]+)`", named):
            if kind not in kinds:
                yield f"there is no event {kind}"


def _troubles_of_page(name, text, names):
    if name != "README":
        if not text.startswith(f"# {name}\n"):
            yield f"the first line should be '# {name}'"
        sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
        if sections != SECTIONS:
            yield f"sections are {sections}, not {SECTIONS}"
        if not _FENCE.search(text):
            yield "it shows no command"
    for kind, body in _FENCE.findall(text):
        if kind == "promql":
            for line in filter(None, body.split("\n")):
                try:
                    promql.check(line, names)
                except promql.Mistake as mistake:
                    yield f"{line}: {mistake}"
        elif kind != "sh":
            yield f"a block of {kind}"
    commands = [body for kind, body in _FENCE.findall(text) if kind == "sh"]
    commands += re.findall(r"`(nbdgw ctl [^`]*)`", _FENCE.sub("", text))
    yield from _troubles_of_commands("\n".join(commands))


def _troubles_of_commands(text):
    for words in re.findall(r"\bnbdgw ctl (.*)$", text, re.MULTILINE):
        if not _CTL.fullmatch(words.split("#")[0].strip()):
            yield f"nbdgw ctl does not take {words!r}"
    for line in re.findall(r"^.*\bcurl\b.*$", text, re.MULTILINE):
        asked = re.search(r"\$NBDGW_ADMIN(/[^\s\"'?]*)", line)
        if asked is None:
            yield f"{line}: of no address below $NBDGW_ADMIN"
            continue
        method = "POST" if "-X POST" in line or re.search(r"\s-d\s", line) else "GET"
        steps = asked[1].split("/")
        if not any(method == known and len(steps) == len(path.split("/"))
                   and all(one in ("*", other) for one, other in zip(path.split("/"), steps)) for known, path in API):
            yield f"{line}: the admin API has no {method} {asked[1]}"
        if method == "POST" and "application/json" not in line:
            yield f"{line}: changes want Content-Type: application/json"


def _troubles_of_links(path, text):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target and not (path.parent / target).exists():
            yield f"a link to {target}, which is not there"


def check_readme(rules, path):
    text = path.read_text()
    named = set(re.findall(r"\bNbdgw[A-Z]\w+", text))
    yield "alerts that the README names exist", sorted(named - set(rules.alert_names))
    yield "files that the README names exist", list(_troubles_of_links(path, text))
