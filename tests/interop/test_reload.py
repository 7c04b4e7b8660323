"""The configuration file is changed under the running gateway, which gets SIGHUP: who must notice, and who must not."""
import signal

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, clients, gateway, metrics, sockets, unaligned, workdir
from lib.targets import Chap, Embedded, Lun, Tgt
from recovery import fio

SIZE = 64 * MIB
RELOADS = 20
DONE = "reload: done"
REFUSED = "everything stays as it is"


@gateway_only
class Reload(InteropCase):
    """Two targets that we did not write; exports vol0 and vol1 on the first, far on the second."""

    def setUp(self):
        self.array = self.use(Tgt({1: Lun(SIZE), 2: Lun(SIZE), 3: Lun(SIZE)}, max_connections=2))
        self.other = self.use(Embedded({1: Lun(SIZE), 2: Lun(SIZE)}, max_connections=2))
        self.server = self.use(gateway.Gateway(
            {"array": self.array, "other": self.other},
            {"vol0": ("array", 1), "vol1": ("array", 2), "far": ("other", 1)}, connections=2, admin="http"))

    def reload(self, ending=DONE):
        """Returns what the gateway has logged about it."""
        self.server.write_config()
        return self.hang_up(ending)

    def hang_up(self, ending=DONE):
        before = len(self.server.child.log())
        self.server.child.send(signal.SIGHUP)
        fresh = lambda: self.server.child.log()[before:]  # noqa: E731
        self.server.child.wait_until(lambda: ending in fresh() or REFUSED in fresh(), f"saying '{ending}'")
        self.assertIn(ending, fresh())
        return fresh()

    def last_reload(self):
        return metrics.Scrape(self.server.admin_port)("nbdgw_config_last_reload_successful")

    def embedded(self, name):
        """Another target, of another name than those that there are."""
        target = Embedded({1: Lun(SIZE)}, max_connections=2)
        target.iqn = f"iqn.2026-11.io.nbdgw:{name}"
        return self.use(target)

    def names(self):
        listed = clients.nbdinfo_list(f"nbd://127.0.0.1:{self.server.port}")
        return [export["export-name"] for export in listed]

    def check_disk(self, export):
        handle = unaligned.connect(self.server.uri(export))
        handle.pwrite(b"r" * 4096, 8192)
        self.assertEqual(bytes(handle.pread(4096, 8192)), b"r" * 4096)
        handle.shutdown()

    def wait_for_load(self):
        """Until some more of it has gone to the target; the connections are always the same."""
        sent = lambda: sum(out for out, _ in sockets.byte_counters(self.server.pid, self.array.port).values())  # noqa: E731
        before = sent()
        self.server.child.wait_until(lambda: sent() > before + MIB, "loaded")

    def no_such_export(self, name):
        with self.assertRaises(nbd.Error):
            unaligned.connect(self.server.uri(name))

    def logins(self, target):
        return self.server.child.log().count(f"target {target}: logged in")

    def test_exports_and_targets_come_and_go(self):
        third = self.embedded("third")
        self.assertEqual(self.names(), ["vol0", "vol1", "far"])
        self.server.exports["vol2"] = ("array", 3)
        self.server.exports["new"] = ("third", 1, {"description": "just come"})
        self.server.targets["third"] = third
        log = self.reload()
        for line in ("added target third", "added export vol2", "added export new"):
            self.assertIn(f"reload: {line}", log)
        self.assertEqual(self.names(), ["vol0", "vol1", "far", "vol2", "new"])
        self.assertEqual(clients.nbdinfo(self.server.uri("new"))["description"], "just come")
        for name in self.names():
            self.check_disk(name)
        del self.server.targets["third"], self.server.exports["new"], self.server.exports["vol0"]
        log = self.reload()
        for line in ("removed target third", "removed export vol0", "removed export new"):
            self.assertIn(f"reload: {line}", log)
        self.assertEqual(self.names(), ["vol1", "far", "vol2"])
        self.no_such_export("vol0")
        self.no_such_export("new")
        self.check_disk("vol1")
        self.assertEqual(clients.nbdinfo(f"nbd://127.0.0.1:{self.server.port}")["export-size"], SIZE)  # the default
        self.assertEqual(self.logins("array"), 1)
        self.server.stop()
        third.stop()  # whoever had been logged in has left: it ends at once

    def test_untouched_export_under_load(self):
        """fio writes, reads back and compares on vol0 while everything around it changes again and again."""
        load = fio(self.server.uri("vol0")).start()
        self.addCleanup(load.kill)
        neighbour = unaligned.connect(self.server.uri("vol0"))
        for number in range(RELOADS):
            self.wait_for_load()
            even = number % 2 == 0
            self.server.exports["vol1"] = ("array", 2 if even else 3, {"read_only": even})
            if even:
                self.server.exports["vol2"] = ("other", 2)
                del self.server.exports["far"], self.server.targets["other"]
                self.server.targets["renamed"] = self.other
                self.server.exports["vol2"] = ("renamed", 2)
            else:
                del self.server.targets["renamed"], self.server.exports["vol2"]
                self.server.targets["other"] = self.other
                self.server.exports["far"] = ("other", 1)
            self.server.target_options = {"queue_depth": 32 + number, "retries": 1 + number}
            self.reload()
            neighbour.pwrite(bytes([number]) * 512, number * 512)
            self.assertIsNone(load.process.poll(), "the load has ended")
        self.wait_for_load()
        for number in range(RELOADS):
            self.assertEqual(bytes(neighbour.pread(512, number * 512)), bytes([number]) * 512)
        load.interrupt()
        result = load.finish()
        self.assertGreater(result["write"]["total_ios"], 0)
        self.assertEqual(self.logins("array"), 1)
        self.assertNotIn("session lost", self.server.child.log())
        self.server.stop()

    def test_changed_export_sends_its_clients_away(self):
        handle = unaligned.connect(self.server.uri("vol1"))
        staying = unaligned.connect(self.server.uri("vol0"))
        handle.pwrite(b"x" * 4096, 0)
        self.server.exports["vol1"] = ("array", 2, {"read_only": True})
        self.assertIn("reload: changed export vol1 (read_only; it is made anew", self.reload())
        with self.assertRaises(nbd.Error):
            handle.pread(512, 0)
        back = unaligned.connect(self.server.uri("vol1"))
        self.assertTrue(back.is_read_only())
        self.assertEqual(bytes(back.pread(4096, 0)), b"x" * 4096)
        staying.pwrite(b"y" * 512, 0)
        back.shutdown()
        staying.shutdown()

    def test_requests_in_flight_are_answered(self):
        """A client with many requests on their way is sent away: each is answered, or told to go; none is lost."""
        handle = unaligned.connect(self.server.uri("vol1"))
        handle.set_strict_mode(0)
        ends = []
        for number in range(64):
            handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(bytes([number]) * 65536)), number * 65536,
                              lambda error, number=number: ends.append((number, error.value)) or 1)
        del self.server.exports["vol1"]
        self.server.write_config()
        self.server.child.send(signal.SIGHUP)
        try:
            while handle.aio_in_flight() > 0:
                handle.poll(1000)
        except nbd.Error:
            pass  # the connection ends behind the last answer
        self.server.child.wait_log(DONE)
        good = [number for number, error in ends if error == 0]
        self.assertTrue(good, ends)
        self.server.exports["again"] = ("array", 2)
        self.reload()
        reader = unaligned.connect(self.server.uri("again"))
        for number in good:
            self.assertEqual(bytes(reader.pread(65536, number * 65536)), bytes([number]) * 65536)
        reader.shutdown()

    def test_bad_file_changes_nothing(self):
        self.assertEqual(self.last_reload(), 1)
        handle = unaligned.connect(self.server.uri("vol1"))
        good = self.server.config_path.read_text()
        for bad, complaint in ((good.replace("vol1", "vol0"), "another export is called"),
                               (good + "\nnonsense: 1\n", "nonsense"),
                               ("listen: [", "nbdgw.yaml"),
                               ("", "nbdgw.yaml")):
            self.server.config_path.write_text(bad)
            log = self.hang_up(REFUSED)
            self.assertIn(complaint, log)
            self.assertNotIn("changed", log)
        self.server.config_path.unlink()
        self.assertIn("cannot be read", self.hang_up(REFUSED))
        self.assertEqual(self.last_reload(), 0)
        handle.pwrite(b"z" * 512, 0)
        self.assertEqual(self.names(), ["vol0", "vol1", "far"])
        self.server.config_path.write_text(good)
        self.assertIn("reload: done, 0 change(s), 0 that need a restart", self.hang_up())
        self.assertEqual(self.last_reload(), 1)
        handle.shutdown()

    def test_what_needs_a_restart_is_said(self):
        self.server.extra = {"limits": {"memory": "256MiB"}, "log": {"level": "warn"}}
        log = self.reload("stays as it is until the gateway is started again")
        self.assertIn("reload: limits.memory differs", log)
        # The level of the log is another one now: the next reload says nothing but what is a warning.
        self.assertNotIn(DONE, self.reload("limits.memory differs"))
        self.check_disk("vol0")

    def test_target_that_is_down_does_not_hold_up_others(self):
        away = self.embedded("away")
        away.stop()
        self.server.targets["away"] = away
        self.server.exports["gone"] = ("away", 1)
        self.reload()
        self.check_disk("far")
        del self.server.targets["away"], self.server.exports["gone"]
        self.reload()
        self.no_such_export("gone")
        self.check_disk("far")

    def test_hangup_while_it_ends_is_no_second_signal(self):
        handle = unaligned.connect(self.server.uri("vol0"))
        handle.pwrite(b"q" * 512, 0)
        self.server.child.send(signal.SIGTERM)
        self.server.child.send(signal.SIGHUP)
        self.assertEqual(self.server.child.wait(20), 0)


@gateway_only
class Secrets(InteropCase):
    """Files that the configuration names have changed, while it has not."""

    def setUp(self):
        self.token = workdir.fresh("token") / "token"
        self.write_token("the-first-token-of-all")
        self.target = self.use(Embedded({1: Lun(SIZE)}, chap=Chap("me", "the first secret")))
        self.server = self.use(gateway.Gateway(
            {"array": self.target}, {"vol0": ("array", 1)}, admin="http",
            extra={"admin": {"token_file": str(self.token)}}))
        self.configuration = self.server.config_path.read_text()

    def write_token(self, text):
        self.token.write_text(text + "\n")
        self.token.chmod(0o600)

    def hang_up(self, *lines):
        before = len(self.server.child.log())
        self.server.child.send(signal.SIGHUP)
        for line in lines:
            self.server.child.wait_until(lambda line=line: line in self.server.child.log()[before:], f"saying '{line}'")

    def logins(self):
        return self.server.child.log().count("target array: logged in")

    def test_chap_secret(self):
        handle = unaligned.connect(self.server.uri("vol0"))
        handle.pwrite(b"s" * 4096, 0)
        self.target.chap = Chap("me", "another secret")
        self.server.write_config()
        self.assertEqual(self.server.config_path.read_text(), self.configuration)
        self.hang_up("reload: changed target array (auth.chap (a secret))", DONE)
        self.assertEqual(bytes(handle.pread(4096, 0)), b"s" * 4096)
        self.assertEqual(self.logins(), 1)
        self.target.kill()
        self.target.start()  # and wants to see the other one
        self.assertEqual(bytes(handle.pread(4096, 0)), b"s" * 4096)
        self.assertEqual(self.logins(), 2)
        self.assertNotIn("credentials", self.server.child.log())
        handle.shutdown()

    def test_one_that_cannot_be_read(self):
        secret = self.server.directory / "secret"
        secret.unlink()
        self.write_token("another-token-of-all")
        self.hang_up(f"cannot read {secret}", REFUSED)
        self.assertEqual(admin.curl(self.server.admin_url("/v1/config"), token="the-first-token-of-all").status, 200)

    def test_admin_token(self):
        url = self.server.admin_url("/v1/config")
        self.assertEqual(admin.curl(url, token="the-first-token-of-all").status, 200)
        self.write_token("another-token-of-all")
        self.hang_up("reload: changed admin (token_file)", DONE)
        self.server.child.wait_until(lambda: admin.curl(url, token="another-token-of-all").status == 200,
                                     "taking the other token")
        self.assertEqual(admin.curl(url, token="the-first-token-of-all").status, 401)
