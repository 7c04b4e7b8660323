"""The log as a machine: it holds up nobody, repeats itself little, and says who asked for what."""
import json
import os
import pathlib
import re
import socket
import struct
import time
import types

from base import MIB, InteropCase, gateway_only
from lib import admin, bystander, gateway, metrics, nbdwire as n, servers, sockets, workdir
from lib.nbdwire import Closed, Wire
from lib.process import Child
from lib.targets import Embedded, Lun

DISK = 32 * MIB
FLOOD = 10_000
REQUESTS = 20_000  # that are logged, more than the log's queue and a pipe hold
PIPELINED = 100
PAUSE_S = 1
END_S = 10  # a drain of nobody, a logout, and a second for the log
HANDFUL = 6
PORTALS_S = 20
TOKEN = "a-token-for-this-test-0123456789"
WRONG = "another-token-that-must-not-be-seen"
JOURNAL = pathlib.Path("/run/systemd/journal/socket")


class LoggingCase(InteropCase):
    def setUp(self):
        self.target = self.use(Embedded({1: Lun(DISK)}))

    def gateway(self, **options):
        return gateway.Gateway({"array": self.target}, {"vol0": ("array", 1)}, admin="http", **options)

    def ready(self, server):
        server.child.wait_until(lambda: admin.get(server.admin_port, "/readyz").status == 200, "ready")
        return server

    def serve(self, **options):
        return self.ready(self.use(self.gateway(**options)))

    def serve_with(self, *arguments, **options):
        """With more on its command line."""
        server = self.gateway(**options)
        server.write_config()
        server.child = Child(server.name, servers.gateway_command("serve", "-c", server.config_path, *arguments),
                             directory=server.directory).start()
        self.addCleanup(server.child.kill)
        server.child.wait_listening(server.admin_port)
        return self.ready(server)

    @staticmethod
    def lines(server, text=""):
        return [line for line in server.child.log().splitlines() if text in line]

    def counted(self, server, value, name, **labels):
        server.child.wait_until(lambda: metrics.Scrape(server.admin_port)(name, **labels) == value,
                                f"through with {name} {labels}")


def reset_close(sock):
    """Without a port that stays in TIME_WAIT: there are not enough of them for a flood."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def knock(server, count, say=b""):
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", server.port), 20)
        if say:
            sock.sendall(say)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        reset_close(sock)


def ask_often(port, count):
    """So many requests that are logged at level debug, over one connection."""
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        for _ in range(count // PIPELINED):
            sock.sendall(request * PIPELINED)
            answers = 0
            rest = b""
            while answers < PIPELINED:
                data = rest + sock.recv(1 << 16)
                assert data != rest, "the admin server has closed"
                answers += data.count(b"HTTP/1.1 200 OK")
                rest = data[-14:] if not data.endswith(b"\n") else b""


@gateway_only
class NobodyReads(LoggingCase):
    """Standard error is a pipe that is full."""

    def start(self, level):
        directory = workdir.fresh("hung")
        pipe = directory / "stderr"
        os.mkfifo(pipe)
        self.reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, self.reader)
        return self.serve(extra={"log": {"level": level}},
                          wrap=["sh", "-c", f'exec "$@" 2>"{pipe}"', "sh"])

    def read_some(self):
        """All that is in the pipe now."""
        text = b""
        try:
            while data := os.read(self.reader, 1 << 16):
                text += data
        except BlockingIOError:
            pass
        return text.decode()

    def test_it_holds_up_nobody(self):
        server = self.start("debug")
        with bystander.Bystander(server.uri()) as client:
            ask_often(server.admin_port, REQUESTS)
            knock(server, 500)
            rounds = client.rounds
            server.child.wait_until(lambda: client.rounds > rounds + 10, "serving on")
            scrape = metrics.Scrape(server.admin_port)
            self.assertGreater(scrape("nbdgw_log_dropped_total"), REQUESTS / 10)
            self.assertGreaterEqual(scrape("nbdgw_log_messages_total", level="debug"), REQUESTS)
            answer = admin.post(server.admin_port, "/v1/config/reload", {})
            self.assertLess(answer.status, 300, answer.body)
            client.judge(self, PAUSE_S)
        begin = time.monotonic()
        server.stop()
        self.assert_within(time.monotonic() - begin, END_S, "the end")

    def test_what_was_dropped_is_told_when_it_reads_again(self):
        server = self.start("debug")
        ask_often(server.admin_port, REQUESTS)
        dropped = metrics.Scrape(server.admin_port)("nbdgw_log_dropped_total")
        self.assertGreater(dropped, 0)
        text = ""

        def told():
            nonlocal text
            text += self.read_some()
            return "belong here were dropped" in text
        server.child.wait_until(told, "told of what was dropped")
        self.assertGreaterEqual(int(re.search(r"log: (\d+) line\(s\) that belong here", text)[1]), dropped)
        for line in text.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (debug|info|warn|error) ")
        server.stop()


@gateway_only
class Repetition(LoggingCase):
    def test_a_flood_of_connections_is_a_handful_of_lines(self):
        server = self.serve()
        before = len(self.lines(server))
        knock(server, FLOOD - 200)
        knock(server, 100, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        knock(server, 100, struct.pack(">I", 3) + b"no option at all" * 4)

        def all_gone():
            scrape = metrics.Scrape(server.admin_port)
            return (scrape.total("nbdgw_nbd_closed_total") + scrape("nbdgw_nbd_turned_away_total",
                                                                    reason="connection_limit")) == FLOOD
        server.child.wait_until(all_gone, "rid of all of them")
        self.assertLessEqual(len(self.lines(server)) - before, HANDFUL)
        scrape = metrics.Scrape(server.admin_port)
        self.assertGreater(scrape("nbdgw_nbd_closed_total", reason="silent"), FLOOD / 2)
        self.assertEqual(scrape("nbdgw_nbd_closed_total", reason="bad_client_flags"), 100)
        self.assertEqual(scrape("nbdgw_nbd_closed_total", reason="bad_option_magic"), 100)
        server.stop()
        self.assertLessEqual(len(self.lines(server)) - before, HANDFUL + 8)
        total = self.lines(server, "connection(s) left before they attached")
        self.assertRegex(total[-1], r" warn \d+ connection\(s\) .*silent \d+.*, from .*127\.0\.0\.1")

    def test_a_client_that_attaches_again_and_again(self):
        server = self.serve()
        before = len(self.lines(server))
        for _ in range(200):
            with Wire(server.port) as wire:
                wire.enter()
                wire.send_request(n.DISC)
        self.counted(server, 200, "nbdgw_nbd_closed_total", reason="disc")
        self.assertEqual(len(self.lines(server, "attached to export vol0")), 8)
        self.assertEqual(len(self.lines(server, "detached from export vol0")), 8)
        self.assertLessEqual(len(self.lines(server)) - before, 16)
        server.stop()
        self.assertRegex(self.lines(server, "attached to export vol0")[-1], r"\(192 times more in \d+ s\)$")

    def test_two_dead_portals(self):
        dead = types.SimpleNamespace(iqn=self.target.iqn, chap=None,
                                     portals=[f"127.0.0.1:{sockets.free_port()}", f"localhost:{sockets.free_port()}"])
        server = self.use(gateway.Gateway({"array": dead}, {"vol0": ("array", 1)}))
        server.child.wait_log("no session yet")
        before = len(self.lines(server))
        time.sleep(PORTALS_S)
        self.assertLessEqual(len(self.lines(server)) - before, HANDFUL)
        server.stop()
        lines = self.lines(server, "no session yet")
        counts = [i for i, line in enumerate(lines) if " more in " in line]
        self.assertTrue(counts, "how often is told at the end")
        self.assertGreater(min(counts), 0, "the first comes before its count")


@gateway_only
class Fields(LoggingCase):
    HOSTILE = b'no"such\\export ' + "größe".encode()

    def ask_for(self, server, name):
        with Wire(server.port) as wire:
            wire.greet()
            try:
                return wire.go(name)[0]
            except Closed:
                return None

    def test_json(self):
        server = self.serve_with("--log-format", "json", extra={"log": {"level": "debug"}})
        self.assertEqual(self.ask_for(server, self.HOSTILE), n.UNKNOWN)
        with Wire(server.port) as wire:
            wire.enter()
        knock(server, 3, b"\x00\x00\x00\x01\x1b[2J\n<0>}{\"\xff" + bytes(16))
        admin.get(server.admin_port, "/v1/exports/%22%0A%7B?x=%1b")
        server.child.wait_log("detached from export")
        server.stop()
        lines = [json.loads(line) for line in self.lines(server)]
        for line in lines:
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$")
            self.assertIn(line["level"], ("trace", "debug", "info", "warn", "error"))
            self.assertLessEqual(set(line), {"time", "level", "thread", "message", "export", "target", "session",
                                             "client"})
        attached, = (line for line in lines if "attached to export" in line["message"])
        self.assertEqual(attached["export"], "vol0")
        self.assertRegex(attached["client"], r"^127\.0\.0\.1:\d+$")
        login = next(line for line in lines if line.get("target") == "array" and line.get("session"))
        self.assertGreater(login["session"], 0)
        unknown, = (line for line in lines if "there is no export of this name" in line["message"])
        self.assertIn('asked for export "no\\"such\\\\export größe"', unknown["message"])
        self.assertNotIn("export", unknown)  # what a client makes up is no field
        self.assertEqual(lines[-1]["message"], "ended")

    def test_configured_and_unchanged_by_a_reload(self):
        server = self.serve(extra={"log": {"format": "json"}})
        server.extra = {"log": {"format": "text"}}
        server.write_config()
        admin.post(server.admin_port, "/v1/config/reload", {})
        server.child.wait_log("log.format differs, and stays as it is")
        for line in self.lines(server):
            json.loads(line)
        server.stop()

    def test_journal_without_a_journal(self):
        if JOURNAL.exists():
            self.skipTest("there is a journal, which would get the lines")
        server = self.serve_with("--log-format", "journal")
        self.ask_for(server, b"nosuch")
        server.stop()
        for line in self.lines(server):
            self.assertRegex(line, r"^<[346]>\S")

    def test_exports_that_are_not_there_or_not_open(self):
        server = self.serve()
        self.assertEqual(self.ask_for(server, b"nosuch"), n.UNKNOWN)
        server.child.wait_log('asked for export "nosuch" was turned away: there is no export of this name')
        self.assertEqual(self.ask_for(server, b"x" * 4096), n.UNKNOWN)
        server.child.wait_log('asked for export "' + "x" * 256 + '"... (3840 bytes more) was turned away')
        self.assertEqual(admin.post(server.admin_port, "/v1/exports/vol0/state", {"state": "drain"}).status, 200)
        self.assertEqual(self.ask_for(server, b"vol0"), n.SHUTDOWN)
        server.child.wait_log("asked for export vol0 was turned away: it takes no new clients")
        server.stop()

    def test_wrong_tokens(self):
        path = workdir.fresh("token") / "token"
        path.write_text(TOKEN + "\n")
        path.chmod(0o600)
        server = self.use(self.gateway(extra={"admin": {"token_file": str(path)}}))
        url = server.admin_url("/v1/status")
        server.child.wait_until(lambda: admin.curl(url, token=TOKEN).status == 200, "answering")
        for _ in range(20):
            self.assertEqual(admin.curl(url, token=WRONG).status, 401)
        self.assertEqual(admin.curl(url).status, 401)
        page = admin.curl(server.admin_url("/metrics"), token=TOKEN).body
        self.assertIn('nbdgw_admin_refused_total{reason="wrong_token"} 20\n', page)
        self.assertIn('nbdgw_admin_refused_total{reason="no_token"} 1\n', page)
        told = self.lines(server, "shows a wrong token")
        self.assertEqual(len(told), 1)
        self.assertRegex(told[0], r" warn http: 127\.0\.0\.1:\d+: shows a wrong token")
        server.stop()
        self.assertRegex(self.lines(server, "shows a wrong token")[-1], r"\(19 times more in \d+ s\)$")
        for secret in (TOKEN, WRONG):
            self.assertNotIn(secret, server.child.log())
