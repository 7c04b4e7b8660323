"""Completion for bash: in step with --help, and with the names that a running gateway has."""
import pathlib
import subprocess
import unittest

import program
from lib import gateway, servers, workdir
from lib.process import kill_all
from lib.targets import Embedded, Lun

COMPLETION = servers.ROOT / "deploy/completion/nbdgw"
HERE = pathlib.Path(__file__).resolve().parent
BASH_COMPLETION = pathlib.Path("/usr/share/bash-completion/bash_completion")
MIB = 1 << 20
TIMEOUT_S = 30


def complete(*words, directory=None):
    """What is offered for the last word, behind `nbdgw`."""
    program.need_file(BASH_COMPLETION, "bash-completion")
    argv = ["bash", str(HERE / "complete.bash"), str(COMPLETION), str(servers.gateway_binary()), *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=directory)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"{words}: exit status {done.returncode}: {done.stderr}")
    return done.stdout.splitlines()


class Words(unittest.TestCase):
    def test_shellcheck(self):
        program.need("shellcheck", "shellcheck")
        done = subprocess.run(["shellcheck", str(COMPLETION), str(HERE / "complete.bash")], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_every_command_and_no_other(self):
        for path, found in program.everything().items():
            if found.commands:
                self.assertEqual(sorted(complete(*path, "")), sorted(found.commands), path)

    def test_every_option_and_no_other(self):
        general = program.everything()[("ctl",)].options
        for path, found in program.everything().items():
            expected = found.options | (general if path[:1] == ("ctl",) else set())
            self.assertEqual(complete(*path, "-"), sorted(expected), path)

    def test_every_option_with_a_value_is_known_as_such(self):
        """A value is no argument: behind it, the commands or options are offered as before."""
        for path, found in program.everything().items():
            for option in found.values - {"-c", "--config"}:
                offered = complete(*path, option, "VALUE", "--he")
                self.assertEqual(offered, ["--help"], (path, option))
                self.assertNotIn("--help", complete(*path, option, ""), (path, option))
            for option in found.options - found.values:
                self.assertIn("--help", complete(*path, option, "--h"), (path, option))
                if found.commands:
                    self.assertEqual(sorted(complete(*path, option, "")), sorted(found.commands), (path, option))

    def test_part_of_a_word(self):
        self.assertEqual(complete("se"), ["serve"])
        self.assertEqual(complete("ctl", "re"), ["rescan", "reset", "reload"])
        self.assertEqual(complete("demo", "--o"), ["--once"])
        self.assertEqual(complete("nothing"), [])

    def test_options_are_offered_where_nothing_else_can_be(self):
        self.assertEqual(complete("serve", ""), ["--config", "--help", "--log-format", "-c", "-h"])

    def test_values(self):
        self.assertEqual(complete("target", "--log-level", ""), ["trace", "debug", "info", "warn", "error"])
        self.assertEqual(complete("serve", "--log-format", ""), ["auto", "text", "json", "journal"])
        self.assertEqual(complete("target", "--lun", "mem"), ["memory:size="])
        self.assertEqual(complete("ctl", "log", "w"), ["warn"])
        self.assertIn("true", complete("target", "--initial-r2t", "t"))
        self.assertEqual(complete("ctl", "-a", "unix:///run/nbdgw/adm"), ["///run/nbdgw/admin.sock"])

    def test_files(self):
        directory = workdir.fresh("files")
        for name in ("one.yaml", "two.yml", "three.txt"):
            (directory / name).touch()
        (directory / "folder").mkdir()
        self.assertEqual(sorted(complete("serve", "-c", "", directory=directory)), ["folder", "one.yaml", "two.yml"])
        self.assertEqual(complete("check", "--config", "o", directory=directory), ["one.yaml"])
        self.assertEqual(complete("ctl", "--token-file", "th", directory=directory), ["three.txt"])
        self.assertEqual(complete("target", "--lun", f"file:{directory}/th"), [f"{directory}/three.txt"])
        self.assertEqual(complete("ctl", "-a", f"unix://{directory}/tw"), [f"//{directory}/two.yml"])


class Names(unittest.TestCase):
    """Those of a running gateway."""

    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(kill_all)
        cls.target = Embedded({1: Lun(16 * MIB), 2: Lun(16 * MIB), 3: Lun(16 * MIB)}).start()
        exports = {"vol0": ("array", 1), 'vol:1 "x" \\y': ("array", 2), "other": ("array-2", 3)}
        # A second target that is never reached.
        cls.server = gateway.Gateway({"array": cls.target, "array-2": Unreachable()}, exports, admin_unix=True)
        cls.server.start()
        cls.address = f"unix://{cls.server.admin_path}"
        cls.server.child.wait_log("export vol0: online")

    def complete(self, *words):
        return complete("ctl", "-a", self.address, *words)

    def test_exports(self):
        for command in ("exports", "drain", "undrain", "maint", "rescan"):
            self.assertEqual(sorted(self.complete(command, "")), ["other", "vol0", r'vol:1\ \"x\"\ \\y'], command)
        self.assertEqual(self.complete("exports", "vol0"), ["vol0"])
        self.assertEqual(self.complete("exports", "vol:"), [r'1\ \"x\"\ \\y'])
        self.assertEqual(complete("ctl", "exports", "--address", self.address, "oth"), ["other"])
        self.assertEqual(complete("ctl", f"--address={self.address}", "exports", "oth"), ["other"])

    def test_sessions(self):
        for command in (["sessions"], ["tasks"], ["abort"], ["drop"], ["reset", "lun"], ["reset", "target"],
                        ["reset", "session"]):
            self.assertEqual(sorted(self.complete(*command, "")), ["array", "array-2"], command)
        self.assertEqual(self.complete("drop", "--dry-run", "array", ""), ["0", "1", "2", "3"])
        self.assertEqual(self.complete("reset", "lun", "array", ""), ["1", "2"])

    def test_a_second_argument_is_no_name_again(self):
        self.assertNotIn("vol0", self.complete("exports", "vol0", ""))

    def test_without_a_gateway(self):
        """Nothing, and at once."""
        self.assertEqual(complete("ctl", "-a", f"unix://{self.server.directory}/none.sock", "exports", "v"), [])


class Unreachable:
    iqn, portal, chap = "iqn.2026-11.io.nbdgw:nowhere", "127.0.0.1:1", None
