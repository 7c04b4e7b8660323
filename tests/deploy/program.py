"""The program as its own --help tells it, and what tests of deploy/ need beside it."""
import functools
import os
import re
import shutil
import subprocess
import unittest

from lib import servers

TIMEOUT_S = 30


def run(*words):
    """Runs nbdgw; its exit status is for the caller to judge."""
    argv = [str(word) for word in servers.gateway_command(*words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S)


class Help:
    """What `nbdgw PATH --help` shows: `options`, and `values`: those that have one; `commands`, `arguments`."""

    def __init__(self, path):
        done = run(*path, "--help")
        if done.returncode != 0 or "Usage: nbdgw" not in done.stdout:
            raise AssertionError(f"nbdgw {' '.join(path)} --help: {done.stdout}{done.stderr}")
        parts = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", done.stdout, re.MULTILINE))
        entries = {name: re.findall(r"^  (\S+)", text, re.MULTILINE) for name, text in parts.items()}
        self.options = {word for entry in entries["Options"] for word in entry.split(",")}
        self.values = {word for line in re.findall(r"^  (-\S+ [A-Z].*)$", parts["Options"], re.MULTILINE)
                       if re.match(r"\S+ (TEXT|UINT|BOOLEAN)\b", line) for word in line.split()[0].split(",")}
        self.commands = entries.get("Subcommands", [])
        self.arguments = entries.get("Positionals", [])


@functools.cache
def everything():
    """Every command with its Help, by its path: () is the program itself."""
    found, todo = {}, [()]
    while todo:
        path = todo.pop()
        found[path] = Help(path)
        todo += [(*path, name) for name in found[path].commands]
    return found


def need(tool, package):
    """Skips the test if a tool is missing; where everything must be there, that is a failure."""
    if shutil.which(tool) is None:
        _missing(tool, package)


def need_file(path, package):
    if not path.exists():
        _missing(path, package)


def _missing(what, package):
    text = f"{what} is missing; apt-get install {package}"
    if os.environ.get("CI"):
        raise AssertionError(text)
    raise unittest.SkipTest(text)
