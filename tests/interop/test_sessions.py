"""The iSCSI session in life: several connections at work, a target that is down, restarts, a drain."""
import itertools
import threading
import time

import nbd

from base import MIB, InteropCase, gateway_only, serve
from lib import clients, nbdwire as n, sockets, unaligned
from lib.nbdwire import Wire
from lib.targets import Istgt, Lun, Tgt

SIZE = 128 * MIB


@gateway_only
class Connections(InteropCase):
    """How many connections the session has, and that each of them carries commands."""

    def loaded(self, target, lun, connections, **options):
        """Runs a mixed load and returns {local port: (bytes sent, bytes received)} of what it added."""
        server = self.use(serve(target, lun, connections=connections, **options))
        clients.nbdinfo(server.uri())  # returns once the export is online
        before = self.counters_of(server, target, min(connections, target.max_connections))
        clients.Fio(server.uri(), jobs=4, rw="randrw", bs="16k", iodepth=8, size="16m", offset_increment="16m").run()
        after = sockets.byte_counters(server.pid, target.port)
        self.assertEqual(set(before), set(after), "the session kept its connections")
        server.stop()
        return {port: (after[port][0] - before[port][0], after[port][1] - before[port][1]) for port in after}

    def counters_of(self, server, target, count):
        """The byte counters once the session has all its connections: the others join after the leading one."""
        server.child.wait_until(lambda: len(sockets.byte_counters(server.pid, target.port)) >= count,
                                f"connected {count} times")
        return sockets.byte_counters(server.pid, target.port)

    def all_carry(self, moved, count):
        self.assertEqual(len(moved), count)
        for direction, name in enumerate(("sent", "received")):
            total = sum(counters[direction] for counters in moved.values())
            self.assertGreater(total, 16 * MIB, f"{name} in all: {moved}")
            for port, counters in moved.items():
                self.assertGreater(counters[direction], total / count / 4, f"{name} on {port}: {moved}")

    def test_tgt_four(self):
        self.all_carry(self.loaded(self.use(Tgt({1: Lun(SIZE)}, max_connections=4)), 1, 4), 4)

    def test_istgt_four(self):
        self.all_carry(self.loaded(self.use(Istgt({0: Lun(SIZE)}, max_connections=4)), 0, 4), 4)

    def test_tgt_eight(self):
        self.all_carry(self.loaded(self.use(Tgt({1: Lun(SIZE)}, max_connections=8)), 1, 8), 8)

    def test_target_grants_fewer(self):
        self.all_carry(self.loaded(self.use(Tgt({1: Lun(SIZE)}, max_connections=2)), 1, 4), 2)

    def test_gateway_asks_for_one(self):
        self.all_carry(self.loaded(self.use(Tgt({1: Lun(SIZE)}, max_connections=4)), 1, 1), 1)


class Restart(InteropCase):
    """The target goes away under load and comes back: clients see a pause, never an error."""

    def restarted_under(self, target, times=1, pause_s=0.5, **options):
        target = self.use(target)
        server = self.use(serve(target, **options))
        fio = clients.Fio(server.uri(), jobs=4, rw="randrw", bs="4k", iodepth=16, size="24m", offset_increment="24m",
                          verify="crc32c", verify_fatal=1, verify_backlog=256, rate_iops="1000,1000").start()
        self.addCleanup(fio.kill)
        for _ in range(times):
            time.sleep(1)
            self.assertIsNone(fio.process.poll(), "fio ended before the restart")
            target.kill()
            time.sleep(pause_s)
            target.start()
        self.assertIsNone(fio.process.poll(), "fio ended before the restart was over")
        result = fio.finish()
        self.assertEqual(result["error"], 0)
        self.assertGreater(result["read"]["total_ios"], 0)
        server.stop()

    def test_tgtd_once(self):
        self.restarted_under(Tgt({1: Lun(SIZE)}))

    @gateway_only
    def test_tgtd_three_times(self):
        self.restarted_under(Tgt({1: Lun(SIZE)}), times=3, pause_s=0)

    @gateway_only
    def test_istgt_once(self):
        self.restarted_under(Istgt({0: Lun(SIZE)}), lun=0)

    @gateway_only
    def test_acknowledged_writes_survive(self):
        """Writes of 4 KiB, one after the other, while tgtd is killed and started five times. Every block must hold
        its last acknowledged content: an older write that lands late is found here."""
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target))
        handle = unaligned.connect(server.uri())
        stop, acknowledged, failures, last = threading.Event(), {}, [], 0

        def write():
            nonlocal last
            try:
                for count in itertools.count(1):
                    if stop.is_set():
                        return
                    block = count * 7 % 64
                    handle.pwrite(count.to_bytes(8, "big") * 512, block * 4096)
                    acknowledged[block] = last = count
            except nbd.Error as error:
                failures.append(error)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        for _ in range(5):
            goal = last + 500
            server.child.wait_until(lambda: last >= goal or failures, "answering 500 writes")
            target.kill()
            target.start()
        goal = last + 64
        server.child.wait_until(lambda: last >= goal or failures, "answering a write to each block")
        stop.set()
        writer.join(30)
        self.assertFalse(writer.is_alive(), "the writer hangs")
        self.assertEqual(failures, [])
        self.assertEqual(len(acknowledged), 64)
        for block, count in acknowledged.items():
            self.assertEqual(bytes(handle.pread(4096, block * 4096)), count.to_bytes(8, "big") * 512, f"block {block}")
        server.stop()


@gateway_only
class TargetDown(InteropCase):
    """A target that is not there when the gateway starts."""

    def gateway_without_target(self):
        target = Tgt({1: Lun(SIZE)})
        self.addCleanup(lambda: target.child and target.child.kill())
        server = self.use(serve(target))
        return target, server

    def test_client_waits_then_is_told_why(self):
        target, server = self.gateway_without_target()
        server.child.wait_log(target.portal)
        wire = self.use(Wire(server.port))
        wire.greet()
        start = time.monotonic()
        kind, _, text = wire.go()
        waited = time.monotonic() - start
        self.assertEqual(kind, n.UNKNOWN)
        self.assertGreater(waited, 7)
        self.assert_within(waited, 13, "the wait")
        self.assertIn("array", text, "the text names the target")
        target.start()
        server.child.wait_until(lambda: sockets.established_to(server.pid, target.port) > 0, "connected", 15)
        self.assertEqual(clients.nbdinfo(server.uri())["export-size"], SIZE)
        server.stop()

    def test_client_that_waits_is_let_in(self):
        target, server = self.gateway_without_target()
        wire = self.use(Wire(server.port))
        wire.greet()
        wire.send_option(n.GO, wire.info_payload())
        server.child.wait_until(lambda: sockets.queued(server.port) == 0, "reading what the client wants")
        target.start()
        kinds = [wire.option_reply()[1]]
        while kinds[-1] == n.REP_INFO:
            kinds.append(wire.option_reply()[1])
        self.assertEqual(kinds[-1], n.ACK)
        self.assertEqual(wire.ask(n.READ, 0, 512)[0], 0)
        server.stop()

    def test_sigterm_while_it_is_down(self):
        _, server = self.gateway_without_target()
        start = time.monotonic()
        server.stop()
        self.assert_within(time.monotonic() - start, 5, "the end")

    def test_no_such_lun(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target, 7))
        wire = self.use(Wire(server.port))
        wire.greet()
        kind, _, text = wire.go()
        self.assertEqual(kind, n.UNKNOWN)
        self.assertRegex(text, "(?i)lun")
        server.stop()

    def test_wrong_target_name(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        target.iqn += "-nosuch"
        server = self.use(serve(target))
        wire = self.use(Wire(server.port))
        wire.greet()
        kind, _, text = wire.go()
        self.assertEqual(kind, n.UNKNOWN)
        self.assertTrue(text)
        self.assertIn("nosuch", text + server.child.log(), "which name the target refused")
        server.stop()


@gateway_only
class Drain(InteropCase):
    """SIGTERM: what is in flight is finished, nothing acknowledged is lost, the exit status is 0."""

    def test_under_load(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target))
        handles = [unaligned.connect(server.uri()) for _ in range(4)]
        acknowledged, ended = [{} for _ in handles], []

        def write(number):
            handle, count = handles[number], 0
            try:
                while True:
                    count += 1
                    block = number * 1024 + count % 1024
                    handle.pwrite(((number << 32) + count).to_bytes(8, "big") * 512, block * 4096)
                    acknowledged[number][block] = count
            except nbd.Error as error:
                ended.append(error.errnum or error.string)

        writers = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(4)]
        for writer in writers:
            writer.start()
        server.child.wait_until(lambda: all(len(each) > 100 for each in acknowledged), "answering every client")
        start = time.monotonic()
        server.stop()
        self.assert_within(time.monotonic() - start, 10, "the end")
        for writer in writers:
            writer.join(10)
        self.assertEqual(len(ended), 4, "every client was told")
        with open(target.luns[1].path, "rb") as image:
            for number, blocks in enumerate(acknowledged):
                for block, count in blocks.items():
                    image.seek(block * 4096)
                    got = int.from_bytes(image.read(8), "big") - (number << 32)
                    # One write more than was acknowledged may have been in flight to this block.
                    self.assertIn(got, (count, count + 1024), f"block {block}")

    def test_idle_with_clients(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target))
        wire = self.use(Wire(server.port))
        wire.enter()
        start = time.monotonic()
        server.stop()
        self.assert_within(time.monotonic() - start, 10, "the end")
        self.assertTrue(wire.closed_by_server(), "closed without a stray byte")

    def test_clients_in_the_handshake_do_not_hold_it_up(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target))
        silent, haggling = self.use(Wire(server.port)), self.use(Wire(server.port))
        haggling.greet()
        self.assertEqual(haggling.option(n.LIST)[-1][0], n.ACK)
        start = time.monotonic()
        server.stop()
        self.assert_within(time.monotonic() - start, 5, "the end")
        silent.close()

    def test_session_is_logged_out(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target))
        clients.nbdinfo(server.uri())
        self.assertIn("I_T nexus: ", target.sessions())
        server.stop()
        self.assertNotIn("Initiator: ", target.sessions())
