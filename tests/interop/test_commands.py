"""The commands of the program, as a user types them."""
import os
import re
import socket

from base import MIB, InteropCase, SharedServer, gateway_only
from checks import ClientChecks
from lib import clients, gateway, servers, workdir
from lib.targets import Chap, Embedded, Istgt, Lun, Tgt

GOOD = """\
listen:
  nbd: ["tcp://127.0.0.1:10809"]
initiator:
  name: iqn.2026-11.io.nbdgw:host-1
targets:
  - name: array
    iqn: iqn.2003-01.org.linux-iscsi.array:t1
    portals: ["192.0.2.10:3260"]
    connections: 4
exports:
  - name: vol0
    target: array
    lun: 1
"""


def nbdgw(*arguments, check=True, timeout_s=60):
    return clients.run(servers.gateway_command(*arguments), check, timeout_s)


@gateway_only
class Check(InteropCase):
    """`nbdgw check`: a mistake is named with file, line, column and key."""

    def check_text(self, text):
        path = workdir.fresh("check") / "nbdgw.yaml"
        path.write_text(text)
        done = nbdgw("check", "-c", path, check=False)
        return path, done

    def test_good(self):
        _, done = self.check_text(GOOD)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_examples(self):
        examples = servers.ROOT / "config/examples"
        self.assertTrue(list(examples.glob("*.yaml")))
        done = nbdgw("check", "-c", examples / "minimal.yaml", check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def wrong(self, text, line, *words):
        path, done = self.check_text(text)
        self.assertNotEqual(done.returncode, 0, "accepted")
        said = done.stdout + done.stderr
        self.assertRegex(said, re.escape(str(path)) + rf":{line}:\d+", said)
        for word in words:
            self.assertIn(word, said)
        # What `check` refuses `serve` refuses too, before it starts anything.
        serve = nbdgw("serve", "-c", path, check=False)
        self.assertNotEqual(serve.returncode, 0)
        self.assertRegex(serve.stdout + serve.stderr, re.escape(str(path)) + rf":{line}:\d+")

    def test_unknown_key(self):
        self.wrong(GOOD.replace("connections:", "conections:"), 9, "conections", "connections")

    def test_duplicate_key(self):
        self.wrong(GOOD.replace("    lun: 1", "    lun: 1\n    lun: 2"), 14, "lun")

    def test_wrong_type(self):
        self.wrong(GOOD.replace("connections: 4", "connections: many"), 9, "connections")
        self.wrong(GOOD.replace("portals: [\"192.0.2.10:3260\"]", "portals: {a: b}"), 8, "portals")

    def test_impossible_values(self):
        self.wrong(GOOD.replace("connections: 4", "connections: 0"), 9, "connections")
        self.wrong(GOOD.replace("lun: 1", "lun: 16384"), 13, "lun")
        self.wrong(GOOD.replace("192.0.2.10:3260", "192.0.2.10:99999"), 8, "portals")
        self.wrong(GOOD.replace("tcp://127.0.0.1:10809", "http://127.0.0.1"), 2, "nbd")
        self.wrong(GOOD.replace("name: iqn.2026-11.io.nbdgw:host-1", "name: host-1"), 4, "name")

    def test_unknown_target(self):
        self.wrong(GOOD.replace("target: array", "target: aray"), 12, "aray")

    def test_secret_in_the_file(self):
        text = GOOD.replace("connections: 4", "auth: {chap: {user: u, secret: hunter2hunter2}}")
        path, done = self.check_text(text)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("secret_file", done.stdout + done.stderr)
        self.assertNotIn("hunter2", done.stdout + done.stderr, "a secret must not be printed")

    def test_not_yaml(self):
        self.wrong(GOOD + "  ]: [\n", 14)

    def test_no_such_file(self):
        done = nbdgw("check", "-c", "/nonexistent/nbdgw.yaml", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/nonexistent/nbdgw.yaml", done.stdout + done.stderr)


@gateway_only
class Commands(InteropCase):
    def test_version(self):
        self.assertRegex(nbdgw("version").stdout, r"\d+\.\d+\.\d+")

    def test_unknown_command(self):
        self.assertNotEqual(nbdgw("frobnicate", check=False).returncode, 0)

    def test_discover(self):
        for make in (Tgt, Istgt, Embedded):
            with self.subTest(target=make.__name__), make() as target:
                self.assertIn(target.iqn, nbdgw("discover", target.portal).stdout)

    def test_discover_nobody_there(self):
        target = Tgt()
        done = nbdgw("discover", target.portal, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(target.portal, done.stderr + done.stdout)

    def test_demo_once(self):
        done = nbdgw("demo", "--once", timeout_s=180)
        self.assertIn("nbd", done.stdout)

    def demo_refused(self, status, size, folder):
        """What a demo says that starts nothing."""
        done = clients.run(["env", f"TMPDIR={folder}", *servers.gateway_command("demo", "--once", "--size", size)],
                           check=False, timeout_s=20)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "", "neither target nor gateway was there")
        return done.stderr

    def test_demo_larger_than_the_machine(self):
        folder = workdir.fresh("demo")
        said = self.demo_refused(2, "1024TiB", folder)
        in_memory = f"({folder} is in memory)" in said  # as /tmp is on Debian 13
        memory = "3.1" if in_memory else "1.0"
        self.assertRegex(said, rf"(?m)^  memory: {memory} PiB .* but \d+\.\d [KMGT]iB available ")
        self.assertRegex(said, rf"(?m)^  disk: 2\.1 PiB .* but \d+\.\d [KMGT]iB available in {folder}$")
        self.assertRegex(said, r"There is room for --size \d+[MG]iB\.|Not even --size 1MiB has room")
        self.assertIn("TMPDIR=FOLDER", said)
        self.assertEqual(os.listdir(folder), [])

    def test_demo_without_its_folder(self):
        self.assertRegex(self.demo_refused(1, "1MiB", "/nonexistent/folder"), r"/nonexistent/folder.*TMPDIR.*No such file")

    def test_port_in_use(self):
        target = self.use(Tgt())
        server = gateway.Gateway({"array": target}, {"vol0": ("array", 1)})
        with socket.create_server(("127.0.0.1", server.port)):
            server.write_config()
            done = nbdgw("serve", "-c", server.config_path, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(str(server.port), done.stdout + done.stderr)

    def test_stale_unix_socket(self):
        target = self.use(Tgt())
        server = self.use(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, unix=True))
        server.child.kill()
        self.assertTrue(os.path.exists(server.unix_path), "kill -9 leaves the socket behind")
        server.start()
        self.assertEqual(clients.nbdinfo(server.unix_uri())["export-size"], target.luns[1].size)
        server.stop()
        self.assertFalse(os.path.exists(server.unix_path), "a clean end removes it")


@gateway_only
class EmbeddedTarget(ClientChecks, SharedServer):
    """Every client check with our own target behind the gateway."""

    @classmethod
    def make_target(cls):
        return Embedded({1: Lun(96 * MIB)})


@gateway_only
class Embedded4k(ClientChecks, SharedServer):
    """Our own target: 4096-byte blocks, every byte solicited, CHAP both ways."""

    @classmethod
    def make_target(cls):
        return Embedded({1: Lun(96 * MIB, block_size=4096)},
                        chap=Chap("gateway", "secretsecret1", "array", "othersecret22"),
                        options=["--initial-r2t", "true", "--immediate-data", "false"])
