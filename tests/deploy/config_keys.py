"""Every key of a configuration, asked from the program itself: what it says about a key that does not exist, and about a
value that fits nowhere."""
import re

import program
from lib import workdir

NO_KEY = "zzzzzzzzzz"
UNKNOWN = re.compile(r"unknown key; here may stand (.*)$")
EXPECTED = re.compile(r": expected (.*), found ")


def _said(directory, path, value):
    """What `nbdgw check` says about `value` in the place of `path`."""
    for step in reversed(path):
        value = f"[{value}]" if step == "[]" else f"{{{step}: {value}}}"
    file = directory / "probe.yaml"
    file.write_text(value + "\n")
    where = re.escape(re.sub(r"\.\[", "[", ".".join("[0]" if step == "[]" else step for step in path)))
    return [line for line in program.run("check", "-c", file).stderr.splitlines()
            if re.search(rf": {where}(\.{NO_KEY})?: ", line) or not path]


def _keys(lines):
    """The keys that a message lists; none if there is no such message."""
    found = [match.group(1) for match in map(UNKNOWN.search, lines) if match]
    return re.split(r", | or ", found[0]) if found else []


def _expected(directory, path):
    """What may stand there, in the words of the program: of a text, too, if only some will do."""
    for value in (NO_KEY, "[[1]]"):
        for where, what in ((path, value), ((*path, "[]"), value)):
            found = [match.group(1) for match in map(EXPECTED.search, _said(directory, where, what)) if match]
            if found and not found[0].startswith("a list"):
                return found[0]
    return ""


def everything():
    """{path of a mapping as in config/keys.hpp: {key: what may stand there, "" for a mapping}}"""
    directory = workdir.fresh("keys")
    mappings, todo = {}, [()]
    while todo:
        path = todo.pop()
        name = ".".join(path).replace(".[]", "[]")
        mappings[name] = {}
        for key in _keys(_said(directory, path, f"{{{NO_KEY}: 1}}")):
            deeper = (*path, key)
            inner = next((one for one in (deeper, (*deeper, "[]"))
                          if _keys(_said(directory, one, f"{{{NO_KEY}: 1}}"))), None)
            if inner:
                todo.append(inner)
                mappings[name][key] = ""
            else:
                mappings[name][key] = _expected(directory, deeper)
    return mappings
