"""Memory and request slots are shared: seen by a client that wants little, beside those that want all or give nothing
back. What holds for one client holds for another, so nothing here looks at how the gateway does it."""
import contextlib
import random
import re
import threading
import time

from base import MIB, SEED, InteropCase, gateway_only
from lib import gateway, greedy, metrics, nbdwire as n
from lib.greedy import Announcer, Busy, DripReader, NonReader, attach
from lib.targets import Embedded, Lun

LUN_SIZE = 128 * MIB
MEMORY = 64 * MIB
PROMPT_S = 1  # a request of 4 KiB is answered within this, whoever else is there
# The same where others fill the target's queue, too: as much as all memory holds may have come before, which takes a slow
# target most of a second. Shorter than any timer that could be waited for instead (the shortest is the ping's, 5 s).
NO_TIMER_S = 4
SMALL = 4096
REQUEST_SLOTS = 1024  # of an export
MINE = LUN_SIZE - MIB  # from here on the disk belongs to the client that checks its data
# READs of one client beyond what the sockets between it and the gateway hold and what it may have in flight.
MANY = {"depth": 800, "size": 16 << 10}
STALL_S = 2
# A client is looked at when its time may be up: it has this long at least, and at most twice, and we are slow to look.
STALLED_WITHIN_S = 2 * STALL_S + 3


class SharesCase(InteropCase):
    """One worker, so that all exports share one memory."""

    def start(self, limits=None, timeouts=None, **options):
        self.target = self.use(Embedded({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)}, control=True))
        self.server = self.use(gateway.Gateway(
            {"array": self.target}, {"vol0": ("array", 1), "vol1": ("array", 2)}, admin="http",
            target_options={"timeouts": timeouts} if timeouts else None,
            extra={"workers": 1, "limits": {"memory": f"{MEMORY // MIB}MiB", **(limits or {})}}, **options))
        self.clients = self.use(contextlib.ExitStack())
        return self.server

    def beside(self, client):
        """A client for as long as the test goes on."""
        return self.clients.enter_context(client)

    def end(self):
        """The clients go first, for a gateway that ends has patience with them."""
        self.clients.close()
        self.server.stop()

    def scrape(self):
        return metrics.Scrape(self.server.admin_port)

    def stalled(self):
        return int(self.scrape()("nbdgw_nbd_closed_total", reason="stalled"))

    def eventually(self, condition, what, within_s=20):
        self.server.child.wait_until(condition, what, within_s)

    def at_rest(self, export="vol0"):
        """Waits until no more requests of the export are taken: what the clients can hold they hold. Their number."""
        return self.server.child.wait_at_rest(lambda: (self.scrape()("nbdgw_nbd_in_flight", export=export),
                                                       self.scrape().total("nbdgw_memory_used_bytes")))[0]

    @contextlib.contextmanager
    def prompt(self, what, within_s=PROMPT_S):
        begin = time.monotonic()
        try:
            yield
        except TimeoutError:
            self.fail(f"{what}: no answer in {time.monotonic() - begin:.1f} s")
        self.assert_within(time.monotonic() - begin, within_s, what)

    def write_and_read(self, who, wire):
        """A WRITE and a READ of 4 KiB, each answered promptly, and with the right data."""
        data = random.randbytes(SMALL)
        with self.prompt(f"{who}: WRITE"):
            self.assertEqual(wire.ask(n.WRITE, MINE, SMALL, payload=data)[0], 0)
        with self.prompt(f"{who}: READ"):
            self.assertEqual(wire.ask(n.READ, MINE, SMALL)[:2], (0, data))

    def attached(self, export="vol0"):
        return self.beside(attach(self.server, export))

    def newcomer_is_served(self, export):
        with self.prompt(f"a newcomer to {export}: attached"):
            wire = attach(self.server, export)
        with wire:
            self.write_and_read(f"a newcomer to {export}", wire)


@gateway_only
class Stalled(SharesCase):
    """Who owes the next move and holds what others wait for is closed; nobody else is."""

    def start(self, **limits):
        return super().start({"stall_timeout": f"{STALL_S}s", **limits})

    def told(self, greedies, debt):
        """The log has named all that were closed, with peer, export and debt. Not all need be: once nobody waits any
        more, the others may stay."""
        line = re.compile(rf"127\.0\.0\.1:(\d+): export vol0: {debt} for [2-9] s, while others waited")
        named = {int(port) for port in line.findall(self.server.child.log())}
        self.assertEqual(len(named), self.stalled())
        self.assertLessEqual(named, {each.local_port() for each in greedies}, "who takes part stays")

    def some_go(self, greedies):
        self.eventually(lambda: self.stalled() >= 1, "rid of those that are in the way", STALLED_WITHIN_S)
        self.assertLessEqual(self.stalled(), len(greedies))

    def test_replies_that_nobody_takes(self):
        self.start()
        greedies = [self.beside(NonReader(self.server, **MANY)) for _ in range(4)]
        waiting = [self.beside(Busy(self.server, depth=256, size=SMALL)) for _ in range(2)]
        self.some_go(greedies)
        before = [client.answered for client in waiting]
        self.newcomer_is_served("vol0")
        self.eventually(lambda: all(client.answered > had for client, had in zip(waiting, before)), "serving the others")
        time.sleep(STALLED_WITHIN_S)
        self.told(greedies, r"\d+ bytes of replies were not taken")
        self.end()

    def test_replies_that_are_taken_by_drips(self):
        self.start()
        greedies = [self.beside(DripReader(self.server, **MANY)) for _ in range(4)]
        self.beside(Busy(self.server, depth=256, size=SMALL))
        self.some_go(greedies)
        self.newcomer_is_served("vol0")
        self.told(greedies, r"\d+ bytes of replies were not taken")
        self.end()

    def test_payload_that_does_not_come(self):
        """Either they are in nobody's way, or they are closed for it."""
        self.start()
        greedies = [self.beside(Announcer(self.server, sent=16 * MIB + 5)) for _ in range(2)]
        self.beside(Busy(self.server, depth=64))
        time.sleep(STALLED_WITHIN_S)
        self.assertLessEqual(self.stalled(), len(greedies))
        self.told(greedies, r"\d+ bytes of a WRITE have not come")
        for export in ("vol0", "vol1"):
            self.newcomer_is_served(export)
        self.end()

    def test_one_that_is_in_nobodys_way(self):
        self.start()
        reader = self.beside(NonReader(self.server, depth=16))
        writer = self.beside(Announcer(self.server, length=8 * MIB, sent=4 * MIB))
        other = self.attached()
        for _ in range(3 * STALL_S):
            time.sleep(1)
            self.write_and_read("another client", other)
        self.assertEqual(self.stalled(), 0)
        self.assertTrue(reader.still_open() and writer.still_open())
        self.end()

    def test_requests_that_are_held_for_a_target_that_is_away(self):
        """All slots are taken, and others wait for them; but it is not the clients' move."""
        self.start()
        wires = [self.beside(attach(self.server)) for _ in range(5)]
        self.target.kill()
        for wire in wires:
            wire.send(b"".join(greedy.header(n.READ, 0, SMALL, cookie) for cookie in range(256)))
        self.eventually(lambda: self.scrape()("nbdgw_nbd_in_flight", export="vol0") >= REQUEST_SLOTS * 3 // 4,
                        "holding requests")
        time.sleep(STALLED_WITHIN_S)
        self.assertEqual(self.stalled(), 0)
        self.target.start()
        for wire in wires:
            answered = set()
            while len(answered) < 256:
                error, cookie = wire.simple_reply()
                self.assertEqual(error, 0)
                wire.recv(SMALL)
                answered.add(cookie)
        self.end()

    def test_the_timeout_is_changed_by_a_reload(self):
        """For those, too, that were there before."""
        self.start(stall_timeout="1h")
        greedies = [self.beside(NonReader(self.server, **MANY)) for _ in range(4)]
        self.beside(Busy(self.server, depth=256, size=SMALL))
        time.sleep(STALLED_WITHIN_S)
        self.assertEqual(self.stalled(), 0)
        self.server.extra["limits"]["stall_timeout"] = f"{STALL_S}s"
        self.server.write_config()
        self.server.child.send(1)  # SIGHUP
        self.some_go(greedies)
        self.end()


@gateway_only
class Shares(SharesCase):
    """Nobody has to be closed for others to get on."""

    def all_are_served(self, what, clients):
        """Those that were there before, and those that come."""
        self.start()
        before = {export: self.attached(export) for export in ("vol0", "vol1")}
        for client in clients(self.server):
            self.beside(client)
        for export, wire in before.items():
            self.newcomer_is_served(export)
            self.write_and_read(f"who was attached to {export} beside {what}", wire)
        self.assertEqual(self.stalled(), 0)

    def test_two_headers_of_a_write_of_32_mib(self):
        """56 bytes."""
        self.all_are_served("two headers", lambda server: [Announcer(server) for _ in range(2)])

    def test_twenty_headers_of_a_write_of_32_mib(self):
        self.all_are_served("twenty headers", lambda server: [Announcer(server) for _ in range(20)])

    def test_two_halves_of_a_write_of_32_mib(self):
        self.all_are_served("two halves", lambda server: [Announcer(server, sent=16 * MIB) for _ in range(2)])

    def test_twenty_halves_of_a_write_of_32_mib(self):
        self.all_are_served("twenty halves", lambda server: [Announcer(server, sent=16 * MIB) for _ in range(20)])

    def test_every_request_slot_wanted_by_four_that_do_not_read(self):
        self.start()
        before = self.attached()
        for _ in range(4):
            self.beside(NonReader(self.server, **MANY))
        self.assertLessEqual(self.at_rest(), REQUEST_SLOTS)
        self.newcomer_is_served("vol0")
        self.write_and_read("who was attached", before)
        self.assertEqual(self.stalled(), 0)

    def test_every_request_slot_wanted_by_forty_that_do_not_read(self):
        self.start()
        for _ in range(40):
            self.beside(NonReader(self.server, **MANY))
        self.at_rest()
        self.newcomer_is_served("vol0")
        self.newcomer_is_served("vol1")

    def test_a_stopped_client(self):
        self.start()
        for _ in range(2):
            self.beside(greedy.Stopped(self.server))
        self.at_rest()
        self.newcomer_is_served("vol0")
        self.newcomer_is_served("vol1")

    def test_clients_that_come_again_and_again(self):
        self.start()
        returners = [self.beside(greedy.Returner(self.server)) for _ in range(4)]
        wire = self.attached()
        for _ in range(20):
            self.newcomer_is_served("vol1")
            self.write_and_read("who was attached", wire)
        self.assertTrue(all(each.rounds > 0 for each in returners))

    def test_one_large_read_beside_many_smaller_ones(self):
        """Small requests must not pass it by for ever."""
        self.start()
        busy = [self.beside(Busy(self.server, depth=64)) for _ in range(3)]
        wire = self.beside(attach(self.server, timeout_s=15))
        for number in range(10):
            before = [each.answered for each in busy]
            with self.prompt(f"READ of 32 MiB, number {number}", 10):
                self.assertEqual(wire.ask(n.READ, number * MIB, 32 * MIB)[0], 0)
            self.eventually(lambda: all(each.answered > had for each, had in zip(busy, before)), "serving the others")

    def test_a_half_write_does_not_hold_up_writes_to_the_same_blocks(self):
        self.start()
        wires = {where: self.attached() for where in ("never came", "came", "never came, a newcomer")}
        half = self.beside(Announcer(self.server, length=8 * MIB, sent=4 * MIB))
        self.assertEqual(half.sent, 4 * MIB)
        for (where, wire), offset in zip(wires.items(), (6 * MIB, MIB, 7 * MIB)):
            with self.prompt(f"WRITE to what {where}"):
                self.assertEqual(wire.ask(n.WRITE, offset, SMALL, payload=b"w" * SMALL)[0], 0)
        self.assertEqual(wires["came"].ask(n.READ, 6 * MIB, SMALL)[1], b"w" * SMALL)

    def test_a_lone_client_gets_nearly_all_memory(self):
        self.start()
        self.target.faults.post("delay", delay_ms=2000, opcode="read")
        self.beside(Busy(self.server, depth=40))
        self.eventually(lambda: self.scrape()("nbdgw_scsi_tasks_in_flight", export="vol0") >= 40,
                        "reading 40 MiB at a time", 5)

    def test_a_target_that_is_away_slows_no_other_export(self):
        near = self.use(Embedded({1: Lun(LUN_SIZE)}, iqn="iqn.2026-11.io.nbdgw:near"))
        away = self.use(Embedded({1: Lun(LUN_SIZE)}, iqn="iqn.2026-11.io.nbdgw:away"))
        self.server = self.use(gateway.Gateway(
            {"near": near, "away": away}, {"vol0": ("near", 1), "vol1": ("away", 1)}, admin="http",
            extra={"workers": 1, "limits": {"memory": f"{MEMORY // MIB}MiB"}}))
        self.clients = self.use(contextlib.ExitStack())
        wire = self.attached()
        pushing = [self.beside(Busy(self.server, "vol1", 64, MIB, n.WRITE)) for _ in range(20)]
        self.eventually(lambda: all(each.answered > 0 for each in pushing), "writing")
        away.kill()
        self.at_rest("vol1")
        for _ in range(5):
            self.newcomer_is_served("vol0")
            self.write_and_read("who was attached", wire)
            with self.prompt("READ of 8 MiB"):
                self.assertEqual(wire.ask(n.READ, 0, 8 * MIB)[0], 0)


class Verifier:
    """Writes and reads its own part of the disk, a request of 4 KiB after the other; what is wrong is kept."""

    def __init__(self, server, export, offset, seed):
        self.server, self.export, self.offset = server, export, offset
        self.rng = random.Random(seed)
        self.rounds, self.longest_s, self.failure = 0, 0, None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        self.thread.join(60)

    def _run(self):
        try:
            with attach(self.server, self.export, timeout_s=30) as wire:
                while not self.ending.wait(0.002):
                    self._round(wire)
        except (n.Closed, OSError, AssertionError) as error:
            self.failure = repr(error)

    def _round(self, wire):
        offset = self.offset + SMALL * self.rng.randrange(64)
        data = self.rng.randbytes(SMALL)
        self._ask(wire, n.WRITE, offset, data)
        assert self._ask(wire, n.READ, offset) == data, f"offset {offset}: other data"
        self.rounds += 1

    def _ask(self, wire, command, offset, payload=b""):
        begin = time.monotonic()
        error, data, _ = wire.ask(command, offset, SMALL, payload=payload)
        assert error == 0, f"error {error}"
        self.longest_s = max(self.longest_s, time.monotonic() - begin)
        return data


@gateway_only
class Mixes(SharesCase):
    """Hostile clients drawn from a seed, beside one that is well-behaved on each export."""

    def mix(self, number, clients=12, seconds=4):
        seed = f"{SEED}/{number}"
        self.start()
        with contextlib.ExitStack() as stack:
            verifiers = [stack.enter_context(Verifier(self.server, export, MINE, f"{seed}/{export}"))
                         for export in ("vol0", "vol1")]
            for client in greedy.mix(seed, self.server, ["vol0", "vol1"], clients):
                stack.enter_context(client)
            time.sleep(seconds)
            for verifier in verifiers:
                verifier.stop()
                self.assertIsNone(verifier.failure, f"{verifier.export}, mix {seed}")
                self.assertFalse(verifier.thread.is_alive(), f"{verifier.export}, mix {seed}: no answer")
                self.assertGreater(verifier.rounds, 0)
                self.assert_within(verifier.longest_s, NO_TIMER_S, f"{verifier.export}, mix {seed}")

    def test_mix_1(self):
        self.mix(1)

    def test_mix_2(self):
        self.mix(2)

    def test_mix_3(self):
        self.mix(3)

    def test_mix_of_many(self):
        self.mix(4, clients=40)
