"""Trouble that nothing cures: it ends for each request, the ladder does not climb for ever, and the others go on."""
import errno
import json
import threading
import time

import nbd

from base import gateway_only
from lib import admin, gateway, unaligned
from lib.targets import Embedded, Lun
from recovery import LADDER_TIMEOUTS, LUN_SIZE, RecoveryCase

RETRIES = 2
# Of one command: its deadline and a ping, for each of its tries, and a second for the abort and its pause.
ENDS_S = (RETRIES + 1) * 4
WATCH_S = 25


class Asker:
    """Asks for one block again and again, one at a time, and counts what came of it."""

    def __init__(self, uri, ask):
        self.handle = unaligned.connect(uri)
        self.ask = ask
        self.good = self.bad = 0
        self.longest = 0
        self.unexpected = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ending.is_set():
            begin = time.monotonic()
            try:
                self.ask(self.handle)
                self.good += 1
                time.sleep(0.01)
            except nbd.Error as error:
                self.bad += 1
                if error.errnum != errno.EIO:
                    self.unexpected = error
            self.longest = max(self.longest, time.monotonic() - begin)

    def end(self, within_s):
        self.ending.set()
        self.thread.join(within_s)
        return not self.thread.is_alive()


def read(handle):
    handle.pread(4096, 0)


def write(handle):
    handle.pwrite(b"w" * 4096, LUN_SIZE // 2)


class EndsCase(RecoveryCase):
    def begin(self, luns, exports, **options):
        self.target = self.use(Embedded({number: Lun(LUN_SIZE) for number in luns}, control=True))
        self.server = self.use(gateway.Gateway(
            {"array": self.target}, exports, admin="http",
            target_options={"timeouts": LADDER_TIMEOUTS, "retries": RETRIES, "after_silence": "trust"}, **options))
        self.wait_online("vol0")

    def wait_online(self, name):
        self.server.child.wait_until(lambda: self.export(name)["state"] == "online", f"online with {name}")

    def export(self, name):
        return json.loads(admin.get(self.server.admin_port, f"/v1/exports/{name}").body)

    def counters(self):
        return json.loads(admin.get(self.server.admin_port, "/v1/sessions/array").body)["counters"]

    def climbed(self, rung):
        return sum(f"rung={rung} " in line for line in self.server.child.log().splitlines())


@gateway_only
class Ends(EndsCase):
    def test_reads_that_hang_on_a_lun_that_works(self):
        """Every abort is answered "complete", and every read hangs again: each fails after its retries. The LUN works
        otherwise, so it is reset once, for a try, and not again and again, and the session stays."""
        self.begin([1], {"vol0": ("array", 1)})
        self.target.faults.post("hang_task", opcode="read")
        readers = [Asker(self.server.uri("vol0"), read) for _ in range(3)]
        writer = Asker(self.server.uri("vol0"), write)
        time.sleep(WATCH_S)
        for reader in readers:
            self.assertTrue(reader.end(ENDS_S), "a read hangs for ever")
            self.assertEqual((reader.good, reader.unexpected), (0, None))
            self.assertGreater(reader.bad, 0)
            self.assert_within(reader.longest, ENDS_S, "the longest read")
        self.assertEqual(self.counters()["losses"], 0)
        self.assertTrue(writer.end(ENDS_S))
        self.assertEqual(writer.bad, 0)
        self.assertGreater(writer.good, 100)
        self.assertLessEqual(self.climbed("lu_reset"), 2)
        self.assertEqual(self.climbed("target_warm_reset"), 0)
        self.server.stop()

    def test_a_lun_that_hangs_for_good_beside_one_that_works(self):
        """Each rung is tried once, up to the session; then the other LUN is left in peace."""
        self.begin([1, 2], {"vol0": ("array", 1), "vol1": ("array", 2)})
        self.wait_online("vol1")
        fault = self.target.faults.post("hang_lun", lun=1)
        victim = Asker(self.server.uri("vol0"), read)
        other = Asker(self.server.uri("vol1"), write)
        time.sleep(WATCH_S)
        half_way = self.counters()["losses"], self.climbed("target_warm_reset")
        self.assertLessEqual(half_way[0], 2)
        time.sleep(WATCH_S)
        self.assertEqual((self.counters()["losses"], self.climbed("target_warm_reset")), half_way,
                         "the session is lost again and again for a LUN that nothing helps")
        self.assertTrue(other.end(ENDS_S))
        self.assertEqual(other.bad, 0)
        self.assertGreater(other.good, 500)
        self.target.faults.delete(fault)
        self.server.child.wait_until(lambda: victim.good > 0, "answering again once the LUN is back", 30)
        self.assertTrue(victim.end(ENDS_S))
        self.server.stop()

    def test_a_flush_that_takes_its_time(self):
        """Longer than a read may: it has a deadline of its own."""
        self.begin([1], {"vol0": ("array", 1)})
        self.target.faults.post("delay", opcode="flush", delay_ms=6000)
        client = unaligned.connect(self.server.uri("vol0"))
        client.pwrite(b"f" * 4096, 0)
        client.flush()
        self.assertEqual(self.climbed("abort_task"), 0)
        self.server.stop()


@gateway_only
class TwoGateways(RecoveryCase):
    def gateway(self, target, **extra):
        return self.use(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, admin="http", **extra))

    def counters(self, server):
        return json.loads(admin.get(server.admin_port, "/v1/sessions/array").body)["counters"]

    def test_of_one_name(self):
        """They throw each other out: slower and slower, and the log asks for the cause."""
        target = self.use(Embedded({1: Lun(LUN_SIZE)}))  # tgtd leaves both sessions alone, as it happens
        servers = [self.gateway(target) for _ in range(2)]
        begin = time.monotonic()
        for server in servers:
            server.child.wait_until(lambda: "is there a second gateway" in server.child.log(), "asking", 60)
        took = time.monotonic() - begin
        for server in servers:
            logins = self.counters(server)["logins"]
            self.assertLess(logins, 5 + 2 * took, f"{logins} logins in {took:.1f} s")

    def test_a_reset_by_the_other(self):
        """A reset of the LUN over one ends what the other has under way, without a word: its next command is told, and
        what is older is looked after at once, not at its deadline."""
        target = self.use(Embedded({1: Lun(LUN_SIZE)}, control=True))
        ours = self.gateway(target)
        theirs = self.gateway(target, initiator="iqn.2026-11.io.nbdgw:host-2")
        first, second = unaligned.connect(ours.uri()), unaligned.connect(ours.uri())
        first.pread(4096, 0)
        hung = target.faults.post("hang_task", opcode="read", count=1)
        answer = threading.Thread(target=lambda: first.pread(4096, 0), daemon=True)
        answer.start()
        ours.child.wait_until(lambda: target.faults.hits(hung) == 1, "waiting for its read")
        admin.ask(theirs.admin_port, "POST", "/v1/sessions/array/reset-lun", {"lun": 1}, "application/json")
        ours.child.wait_until(lambda: "lun=1" in theirs.child.log() and "lu_reset" in theirs.child.log(), "reset")
        begin = time.monotonic()
        second.pread(4096, 4096)
        answer.join(4)
        self.assertFalse(answer.is_alive(), "the read waits for its deadline, which is 15 s")
        print(f"  answered {time.monotonic() - begin:.1f} s after the reset", flush=True)
        for server in (ours, theirs):
            server.stop()


del EndsCase
