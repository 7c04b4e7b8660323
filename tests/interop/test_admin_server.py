"""The admin server of `nbdgw serve`: probes, who may ask, what bad requests get, and that none of it is felt by good
clients."""
import signal
import socket
import ssl
import threading
import time

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, clients, gateway, servers, sockets, workdir
from lib.targets import Embedded

TOKEN = "0123456789abcdef0123456789abcdef"
PLACES = 64  # of each address
DRAIN_S = 2  # how long a command hangs while the gateway drains; its limit is 10 s


def token_file():
    path = workdir.fresh("token") / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


class AdminCase(InteropCase):
    def eventually(self, server, path, status):
        """The answer to a probe once it has this status."""
        answers = []

        def there():
            answers.append(admin.get(server.admin_port, path))
            return answers[-1].status == status
        server.child.wait_until(there, f"answering {path} with {status}")
        return answers[-1].body

    def gateway(self, target, **options):
        return self.use(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, **options))


@gateway_only
class Probes(AdminCase):
    def test_through_the_life_of_a_target(self):
        target = Embedded()
        server = self.gateway(target, admin="http")
        self.assertEqual(admin.get(server.admin_port, "/livez").body, "ok\n")  # whatever the target does
        self.assertRegex(self.eventually(server, "/readyz", 503), r"^\[-\] export vol0: (offline|probing)")
        self.assertEqual(admin.get(server.admin_port, "/startupz").status, 503)
        with target:
            self.assertEqual(self.eventually(server, "/readyz", 200), "ok\n")
            self.assertEqual(admin.get(server.admin_port, "/startupz?verbose").body,
                             "[+] listeners: 1 of 1\n[+] export vol0: has been online\nstartupz: passed\n")
            target.kill()
            self.assertRegex(self.eventually(server, "/readyz", 503), r"^\[-\] export vol0: offline: .+")
            self.assertEqual(admin.get(server.admin_port, "/livez?verbose").body, "[+] shard 0\nlivez: passed\n")
            self.assertEqual(admin.get(server.admin_port, "/startupz").status, 200)
            target.start()
            self.eventually(server, "/readyz", 200)
            self.assertEqual(server.stop(), 0)

    def test_an_export_that_is_not_required(self):
        with Embedded() as target:
            away = Embedded()
            away.iqn += "-away"
            server = self.use(gateway.Gateway({"array": target, "away": away}, {
                "vol0": ("array", 1), "vol1": ("away", 1, {"required": False})}, admin="http"))
            self.eventually(server, "/readyz", 200)
            body = admin.get(server.admin_port, "/readyz?verbose").body
            self.assertRegex(body, r"(?m)^\[\.\] export vol1: offline: .* \(not required\)$")
            self.assertRegex(body, r"(?m)^\[\+\] export vol0: online$")
            self.assertEqual(admin.get(server.admin_port, "/startupz").status, 200)
            self.assertEqual(server.stop(), 0)

    def test_while_the_gateway_drains(self):
        with Embedded(control=True) as target:
            server = self.gateway(target, admin="http")
            self.eventually(server, "/readyz", 200)
            client = nbd.NBD()
            client.set_export_name("vol0")
            client.connect_tcp("127.0.0.1", str(server.port))
            hang = target.faults.post("hang_task", opcode="write", count=1)
            writing = threading.Thread(target=client.pwrite, args=(b"x" * 4096, 0))
            writing.start()
            server.child.wait_until(lambda: target.faults.hits(hang) == 1, "writing")
            server.child.send(signal.SIGTERM)
            self.assertEqual(self.eventually(server, "/readyz", 503), "[-] gateway: is ending\nreadyz: failed\n")
            end = time.monotonic() + DRAIN_S
            while time.monotonic() < end:
                self.assertEqual(admin.get(server.admin_port, "/livez").status, 200)
                self.assertEqual(admin.get(server.admin_port, "/readyz").status, 503)
                self.assertTrue(server.child.alive(), "a write is in flight")
            target.faults.delete(hang)
            writing.join(20)
            self.assertFalse(writing.is_alive())
            self.assertEqual(server.child.wait(20), 0)


@gateway_only
class Access(AdminCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.authority = admin.Authority()
        cls.identity = cls.authority.sign("server", "IP:127.0.0.1")
        cls.ca = cls.authority.root.certificate
        cls.target = cls.enterClassContext(Embedded())

    def tls(self, **more):
        return {"certificate_file": str(self.identity.certificate), "key_file": str(self.identity.key), **more}

    def test_token(self):
        server = self.gateway(self.target, admin="http", admin_unix=True,
                              extra={"admin": {"token_file": str(token_file())}})
        url = server.admin_url("/")
        answer = admin.curl(url)
        self.assertEqual((answer.status, answer.json()["code"]), (401, "unauthorized"))
        self.assertIn("Bearer", answer.fields["www-authenticate"])
        self.assertEqual(admin.curl(url, token=TOKEN).status, 200)
        self.assertEqual(admin.curl(url, "--user", f"anybody:{TOKEN}").status, 200)  # what a browser does
        for wrong in (TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "x"):
            self.assertEqual(admin.curl(url, token=wrong).status, 401)
        self.assertEqual(admin.curl(server.admin_url("/none")).status, 401)
        self.assertEqual(admin.curl(server.admin_url("/none"), "--data", "x" * 100_000).status, 401)
        for probe in ("/livez", "/readyz?verbose", "/startupz"):
            self.assertIn(admin.curl(server.admin_url(probe)).status, (200, 503))
        self.assertEqual(admin.curl("http://localhost/", unix=server.admin_path).status, 200)
        self.assertEqual(server.admin_path.stat().st_mode & 0o777, 0o660)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(server.admin_path.exists())
        self.assertNotIn(TOKEN, server.child.log())

    def test_tls(self):
        server = self.gateway(self.target, admin="https", extra={"admin": {"tls": self.tls()}})
        url = server.admin_url("/livez")
        self.assertEqual(admin.curl(url, ca=self.ca).status, 200)
        self.assertEqual(admin.curl(url, "--tls-max", "1.2", ca=self.ca).status, 200)
        self.assertIsNone(admin.curl(url, "--tls-max", "1.1", ca=self.ca))
        self.assertIsNone(admin.curl(url.replace("https", "http")))
        context = ssl.create_default_context(cafile=self.ca)
        with socket.create_connection(("127.0.0.1", server.admin_port)) as raw:
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as stream:
                for _ in range(3):  # one connection, ahead of the answers
                    stream.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                text = b""
                while text.count(b"ok\n") < 3:
                    more = stream.recv(4096)
                    self.assertTrue(more)
                    text += more
        self.assertEqual(server.stop(), 0)

    def test_client_certificate(self):
        server = self.gateway(self.target, admin="https",
                              extra={"admin": {"tls": self.tls(client_ca_file=str(self.ca))}})
        url = server.admin_url("/")
        self.assertIsNone(admin.curl(url, ca=self.ca))
        self.assertIsNone(admin.curl(server.admin_url("/livez"), ca=self.ca))  # the handshake comes before the path
        stranger = admin.Authority().sign("ops")
        self.assertIsNone(admin.curl(url, ca=self.ca, cert=stranger))
        self.assertEqual(admin.curl(url, ca=self.ca, cert=self.authority.sign("ops")).status, 200)
        self.assertEqual(server.stop(), 0)

    def test_names_from_elsewhere(self):
        """A web page whose name was made to point here gets nothing out of its visitor's browser."""
        server = self.gateway(self.target, admin="http")
        for host, status in (("localhost:1", 200), ("127.0.0.1", 200), ("evil.example", 421)):
            self.assertEqual(admin.curl(server.admin_url("/"), "--header", f"Host: {host}").status, status)
        self.assertEqual(server.stop(), 0)

    def test_console(self):
        server = self.gateway(self.target, admin="http")
        page = admin.curl(server.admin_url("/"))
        self.assertEqual(page.fields["content-type"], "text/html; charset=utf-8")
        self.assertRegex(page.fields["content-security-policy"], r"^default-src 'none'; script-src 'sha256-")
        self.assertNotIn("unsafe", page.fields["content-security-policy"])
        again = admin.curl(server.admin_url("/"), "--header", f"If-None-Match: {page.fields['etag']}")
        self.assertEqual((again.status, again.body), (304, ""))
        head = admin.curl(server.admin_url("/"), "--head")
        self.assertEqual((head.status, head.fields["content-length"]), (200, str(len(page.body.encode()))))
        self.assertEqual(server.stop(), 0)


@gateway_only
class Configuration(InteropCase):
    """What must not be opened is refused before anything starts, by `check` and by `serve`."""

    def refused(self, addresses, section, *words):
        config = gateway.Gateway({"array": Embedded()}, {"vol0": ("array", 1)}, extra={"admin": section} if section else {})
        config.write_config()
        text = config.config_path.read_text()
        config.config_path.write_text(text.replace("listen:\n", f"listen:\n  admin: {addresses}\n"))
        for command in ("check", "serve"):
            done = clients.run(servers.gateway_command(command, "-c", config.config_path), check=False)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)

    def test_off_loopback(self):
        self.refused('"http://0.0.0.0:9810"', None, "listen.admin", "admin.token_file", "client_ca_file")
        self.refused('["http://127.0.0.1:9810", "http://[::]:9810"]', None, "listen.admin[1]")

    def test_https_without_a_certificate(self):
        self.refused('"https://127.0.0.1:9810"', None, "listen.admin", "admin.tls")

    def test_files(self):
        identity = admin.Authority().sign("server", "IP:127.0.0.1")
        other = admin.Authority().sign("other")
        https = '"https://127.0.0.1:9810"'
        good = {"certificate_file": str(identity.certificate), "key_file": str(identity.key)}
        self.refused(https, {"tls": {**good, "key_file": str(other.key)}}, "admin.tls.key_file", "is not the key of")
        self.refused(https, {"tls": {**good, "certificate_file": "/nowhere"}}, "admin.tls.certificate_file", "/nowhere")
        self.refused('"http://127.0.0.1:9810"', {"tls": good}, "admin.tls", "https://")
        weak = admin.Authority().sign("weak", rsa_bits=1024)
        self.refused(https, {"tls": {"certificate_file": str(weak.certificate), "key_file": str(weak.key)}},
                     "admin.tls.certificate_file", str(weak.certificate))
        identity.key.chmod(0o644)
        self.refused(https, {"tls": good}, "admin.tls.key_file", "chmod o-rwx")
        token = token_file()
        token.chmod(0o604)
        self.refused('"http://127.0.0.1:9810"', {"token_file": str(token)}, "admin.token_file", "chmod o-rwx")


@gateway_only
class BadInput(AdminCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.target = cls.enterClassContext(Embedded())
        cls.server = cls.enterClassContext(gateway.Gateway({"array": cls.target}, {"vol0": ("array", 1)}, admin="http"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, text, timeout_s=20):
        """The whole of what the server says to these bytes, until it closes."""
        with socket.create_connection(("127.0.0.1", self.server.admin_port), timeout=timeout_s) as stream:
            stream.sendall(text)
            said = b""
            while more := stream.recv(65536):
                said += more
        return said.decode()

    def refused(self, text, status, code):
        said = self.ask(text)
        self.assertRegex(said, rf"^HTTP/1\.[01] {status} ")
        self.assertIn("application/problem+json", said)
        self.assertIn(f'"code":"{code}"', said)

    def test_oversized(self):
        self.refused(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "header_too_large")
        self.refused(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431, "header_too_large")
        self.refused(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n\r\n", 413, "body_too_large")

    def test_malformed(self):
        self.refused(b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "bad_request")
        self.refused(b"GET / HTTP/9.9\r\n\r\n", 505, "bad_version")
        self.refused(b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n", 400, "bad_request")
        self.refused(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400,
                     "bad_request")

    def test_wrong_method_and_path(self):
        answer = admin.curl(self.server.admin_url("/readyz"), "--data", "{}")
        self.assertEqual((answer.status, answer.fields["allow"]), (405, "GET, HEAD"))
        self.assertEqual(admin.curl(self.server.admin_url("/nothing/here")).status, 404)

    def test_slow(self):
        """A request that trickles in has its time from its first byte on, however it trickles."""
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.server.admin_port), timeout=20) as stream:
            stream.settimeout(0.2)
            closed = False
            while not closed and time.monotonic() - begin < 20:
                try:
                    stream.sendall(b"A")
                    closed = stream.recv(100) == b""
                except TimeoutError:
                    pass
                except OSError:
                    closed = True
        self.assertTrue(closed)
        self.assert_within(time.monotonic() - begin, 15, "closed")


@gateway_only
class HalfOpen(AdminCase):
    CONNECTIONS = 1000
    ROUNDS = 5
    GOOD_S = 3  # how long a good client waits for its answer at most, on a busy machine, too

    def flood(self, port, half):
        streams = []
        for _ in range(self.CONNECTIONS):
            stream = socket.socket()
            stream.setblocking(False)
            stream.connect_ex(("127.0.0.1", port))
            streams.append(stream)
        for i, stream in enumerate(streams):
            if i % 2 == 0:
                try:
                    stream.send(half)
                except OSError:
                    pass  # its place was wanted
        return streams

    def slowest(self, ask):
        """Asks many times; how long the slowest answer took."""
        slowest = 0
        for _ in range(20):
            begin = time.monotonic()
            self.assertEqual(ask(), 200)
            slowest = max(slowest, time.monotonic() - begin)
        return slowest

    def test_http(self):
        self.under_flood("http", b"GET /livez HTTP/1.1\r\nHo", {})

    def test_https(self):
        authority = admin.Authority()
        identity = authority.sign("server", "IP:127.0.0.1")
        self.context = ssl.create_default_context(cafile=authority.root.certificate)
        self.under_flood("https", b"\x16\x03\x01\x02\x00", {"admin": {"tls": {
            "certificate_file": str(identity.certificate), "key_file": str(identity.key)}}})

    def under_flood(self, scheme, half, extra):
        with Embedded() as target:
            server = self.gateway(target, admin=scheme, admin_unix=True, extra=extra)
            clients.run(["nbdinfo", "--size", server.uri()])  # waits until the export is there

            def ask():
                connect = admin.http.client.HTTPConnection if scheme == "http" else admin.http.client.HTTPSConnection
                more = {} if scheme == "http" else {"context": self.context}
                connection = connect("127.0.0.1", server.admin_port, timeout=20, **more)
                try:
                    connection.request("GET", "/livez")
                    return connection.getresponse().status
                finally:
                    connection.close()

            load = dict(rw="randrw", bs="4k", iodepth=16, size="64m", time_based=True, runtime=3)
            alone = clients.Fio(server.uri(), **load).run()
            fio = clients.Fio(server.uri(), **{**load, "runtime": 6}).start()
            held, slowest = [], 0
            for _ in range(self.ROUNDS):
                held += self.flood(server.admin_port, half)
                slowest = max(slowest, self.slowest(ask))
                self.assertEqual(admin.curl("http://localhost/livez", unix=server.admin_path).status, 200)
            self.assertLess(len(sockets.inodes_of(server.pid)), PLACES + 50, "the rest was closed")
            beside = fio.finish()
            for stream in held:
                stream.close()
            iops = [job["read"]["iops"] + job["write"]["iops"] for job in (alone, beside)]
            print(f"     {scheme}: {len(held)} half-open connections: fio {iops[0]:.0f} alone, {iops[1]:.0f} beside them; "
                  f"slowest good answer {slowest * 1000:.0f} ms")
            self.assert_within(slowest, self.GOOD_S, "the slowest good answer")
            self.assertRegex(server.child.log(), f"all {PLACES} places are taken")
            self.assertEqual(server.stop(), 0)
