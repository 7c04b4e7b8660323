"""The manual pages: well formed, and in step with what the program says of itself."""
import json
import subprocess
import unittest

import config_keys
import man_page
import program
from lib import servers, workdir

PAGES = servers.ROOT / "deploy/man"
SCHEMA = servers.ROOT / "config/nbdgw.schema.json"
HELP = {"-h", "--help"}


class Form(unittest.TestCase):
    def test_lint(self):
        program.need("mandoc", "mandoc")
        for page in sorted(PAGES.iterdir()):
            with self.subTest(page.name):
                done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(page)], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_pages_refer_to_each_other(self):
        names = {page.stem: page.suffix[1:] for page in PAGES.iterdir()}
        for page in PAGES.iterdir():
            for line in page.read_text().splitlines():
                words = line.split()
                if words[:1] == [".Xr"] and words[1] in names:
                    self.assertEqual(words[2].strip(","), names[words[1]], f"{page.name}: {line}")
            for other in names.keys() - {page.stem}:
                self.assertIn(f".Xr {other} ", page.read_text(), page.name)


class Commands(unittest.TestCase):
    """nbdgw(8) against --help."""

    def setUp(self):
        self.page = man_page.Page(PAGES / "nbdgw.8")
        self.commands = {path[0]: found for path, found in program.everything().items() if len(path) == 1}

    def test_every_command_and_no_other(self):
        told = {below for section, below in self.page.sections if section == "COMMANDS" and below}
        self.assertEqual(told, set(self.commands))
        synopsis = [line[4:] for line in self.page.sections["SYNOPSIS", ""] if line.startswith(".Cm ")]
        self.assertEqual(synopsis, program.everything()[()].commands)

    def test_every_option_and_no_other(self):
        self.assertEqual(set.union(*map(man_page.own_options, self.page.items(("COMMANDS", "")))), HELP)
        for name, found in self.commands.items():
            if name == "ctl":
                continue  # has a page of its own
            with self.subTest(name):
                told = set().union(*map(man_page.own_options, self.page.items(("COMMANDS", name))))
                self.assertEqual(told, found.options - HELP)

    def test_exit_statuses(self):
        self.assertEqual(self.page.items(("EXIT STATUS", "")), ["0", "1", "2"])
        for words, status in ((["version"], 0), (["discover", "127.0.0.1:1"], 1), (["serve", "-c", "/nowhere"], 2)):
            self.assertEqual(program.run(*words).returncode, status, words)


class Ctl(unittest.TestCase):
    """nbdgw-ctl(1) against --help."""

    def setUp(self):
        self.page = man_page.Page(PAGES / "nbdgw-ctl.1")
        self.commands = {path[1:]: found for path, found in program.everything().items()
                         if path[:1] == ("ctl",) and not found.commands}

    def told(self):
        """{command: its options, without those that all changes have}, and the options of all changes."""
        found, common, last = {}, set(), ()
        for below in ("To look", "To change"):
            for tag in self.page.items(("COMMANDS", below)):
                last = man_page.command(tag) or last
                if last:
                    found.setdefault(last, set()).update(man_page.options(tag))
                elif below == "To change":
                    common |= man_page.own_options(tag)
            last = ()
        return found, common

    def test_every_command_and_no_other(self):
        self.assertEqual(set(self.told()[0]), set(self.commands))

    def test_every_option_and_no_other(self):
        general = set().union(*map(man_page.own_options, self.page.items(("OPTIONS", ""))))
        self.assertEqual(general, program.everything()[("ctl",)].options)
        told, common = self.told()
        changes = {man_page.command(tag) for tag in self.page.items(("COMMANDS", "To change"))} - {()}
        for path, found in self.commands.items():
            with self.subTest(" ".join(path)):
                self.assertEqual(told[path] | (common if path in changes else set()), found.options - HELP)

    def test_every_argument(self):
        tags = {man_page.command(tag): tag for below in ("To look", "To change")
                for tag in self.page.items(("COMMANDS", below)) if man_page.command(tag)}
        for path, found in self.commands.items():
            self.assertEqual(sum(word.isupper() for word in tags[path].split()) - tags[path].count("DURATION") -
                             tags[path].count("NUMBER"), len(found.arguments), path)

    def test_environment(self):
        text = program.run("ctl", "--help").stdout
        for tag in self.page.items(("ENVIRONMENT", "")):
            self.assertIn(f"(Env:{tag.removeprefix('Ev ')})", text)
        self.assertEqual(len(self.page.items(("ENVIRONMENT", ""))), text.count("(Env:"))


class Configuration(unittest.TestCase):
    """nbdgw.yaml(5) against the parser and the schema."""

    @classmethod
    def setUpClass(cls):
        cls.page = man_page.Page(PAGES / "nbdgw.yaml.5")
        cls.keys = config_keys.everything()
        cls.schema = json.loads(SCHEMA.read_text())

    def tags(self, mapping):
        """{key: its tag's words} as the page has them."""
        items = self.page.items(("KEYS", mapping or "Top level"))
        return {tag.split()[1]: " ".join(word for word in tag.split() if word not in ("Li", "No", "Ar", "Ns", "Pq", "Po",
                                                                                    "Pc")) for tag in items}

    def schema_of(self, mapping):
        node = self.schema
        for step in mapping.replace("[]", ".[]").split(".") if mapping else ():
            node = node["items"] if step == "[]" else node["properties"][step]
        return node

    def test_the_keys_were_found(self):
        self.assertGreater(sum(map(len, self.keys.values())), 50)
        self.assertIn("secret_file", self.keys["targets[].auth.chap.mutual"])

    def test_every_key_and_no_other(self):
        headings = {below for section, below in self.page.sections if section == "KEYS" and below}
        self.assertEqual(headings, {name or "Top level" for name in self.keys})
        for mapping, keys in self.keys.items():
            with self.subTest(mapping):
                self.assertEqual(set(self.tags(mapping)), set(keys))

    def test_what_may_stand_there(self):
        """Bounds and words as the parser has them."""
        for mapping, keys in self.keys.items():
            for key, expected in keys.items():
                with self.subTest(f"{mapping}.{key}"):
                    tag = self.tags(mapping)[key]
                    kind, _, bounds = expected.partition(" from ")
                    if bounds:
                        self.assertIn(bounds, tag)
                        self.assertIn({"a whole number": "number", "a size": "size"}.get(kind.split(", or ")[-1], "time"),
                                      tag)
                    elif expected == "true or false":
                        self.assertIn("boolean", tag)
                    elif expected == "an absolute path":
                        self.assertIn("path", tag)
                    elif expected and expected != "a text":
                        for word in expected.replace(" or ", ", ").split(", "):
                            self.assertIn(word, tag.replace(",", " ").split())

    def test_defaults_and_what_is_required(self):
        for mapping, keys in self.keys.items():
            node = self.schema_of(mapping)
            for key in keys:
                with self.subTest(f"{mapping}.{key}"):
                    tag = self.tags(mapping)[key]
                    self.assertEqual("required" in tag.removeprefix("Cm required"), key in node.get("required", ()))
                    entry = node["properties"][key]
                    default = entry.get("default", self.schema["$defs"].get(entry.get("$ref", "").split("/")[-1],
                                                                             {}).get("default"))
                    if default is not None and not isinstance(default, list):
                        self.assertIn(f"default {str(default).lower() if isinstance(default, bool) else default}", tag)

    def test_examples_are_good(self):
        whole = [text for text in self.page.literals() if text.startswith("listen:") and "\nexports:" in text]
        self.assertGreaterEqual(len(whole), 2)
        for text in whole:
            file = workdir.fresh("man") / "nbdgw.yaml"
            file.write_text(text)
            done = program.run("check", "-c", file)
            self.assertEqual((done.returncode, done.stderr), (0, ""), text)

    def test_parts_are_good(self):
        """Shorter examples: no key in them is unknown, no value of the wrong kind."""
        parts = [text for text in self.page.literals() if "\nexports:" not in text]
        self.assertGreaterEqual(len(parts), 6)
        for text in parts:
            file = workdir.fresh("man") / "nbdgw.yaml"
            file.write_text(text)
            for line in program.run("check", "-c", file).stderr.splitlines():
                self.assertRegex(line, r"is missing; |cannot read |no target is called |error\(s\)$")
