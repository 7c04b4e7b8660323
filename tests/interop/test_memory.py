"""Memory: small when idle, bounded by the budget whatever the clients do."""
import selectors
import struct
import time

from base import MIB, InteropCase, gateway_only, serve
from lib import clients, counters, nbdwire as n, sockets
from lib.nbdwire import Wire
from lib.targets import Lun, Tgt

SIZE = 128 * MIB
BUDGET = 64 * MIB  # the default of limits.memory
HEADROOM = 40 * MIB


@gateway_only
class Memory(InteropCase):
    def start(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target, extra={"limits": {"memory": f"{BUDGET // MIB}MiB"}}))
        clients.nbdinfo(server.uri())
        return server

    def pile_up(self, server):
        """Waits until all that can pile up has piled up, here and in the sockets of the clients."""
        server.child.wait_at_rest(lambda: (counters.rss_bytes(server.pid) // MIB, sockets.queued(server.port)))

    def check(self, server, what):
        peak = counters.peak_rss_bytes(server.pid)
        self.assertLess(peak, BUDGET + HEADROOM, f"peak RSS {what}: {peak / MIB:.1f} MiB")

    def test_idle(self):
        server = self.start()
        rss = counters.rss_bytes(server.pid)
        self.assertLess(rss, 40 * MIB, f"{rss / MIB:.1f} MiB")
        server.stop()

    def test_64_clients_of_large_reads_that_read_slowly(self):
        server = self.start()
        wires = [self.use(Wire(server.port)) for _ in range(64)]
        for wire in wires:
            wire.enter()
            for cookie in (1, 2):
                wire.send_request(n.READ, cookie * MIB, 32 * MIB, cookie=cookie)
        server.child.wait_until(lambda: sockets.queued(server.port) > 0, "answering")
        self.pile_up(server)
        self.check(server, "while nobody reads")
        self.drain(wires, 2 * (16 + 32 * MIB))
        self.check(server, "after all was read")
        for wire in wires[::16]:
            self.assertEqual(wire.ask(n.READ, 0, 512)[0], 0)
        server.stop()

    def drain(self, wires, each):
        """Reads the same number of bytes from every connection, a little from each in turn."""
        poll = selectors.DefaultSelector()
        left = {wire.sock: each for wire in wires}
        for sock in left:
            sock.setblocking(False)
            poll.register(sock, selectors.EVENT_READ)
        buffer = bytearray(1 << 18)
        end = time.monotonic() + 90
        while poll.get_map():
            self.assertLess(time.monotonic(), end, f"{sum(left.values()) >> 20} MiB still to come")
            for key, _ in poll.select(5):
                sock = key.fileobj
                got = sock.recv_into(buffer, min(len(buffer), left[sock]))
                self.assertGreater(got, 0, "the gateway closed a connection")
                left[sock] -= got
                if not left[sock]:
                    poll.unregister(sock)
                    sock.setblocking(True)
                    sock.settimeout(20)

    def test_64_clients_that_stall_in_large_writes(self):
        server = self.start()
        wires = [self.use(Wire(server.port)) for _ in range(64)]
        for number, wire in enumerate(wires):
            wire.enter()
            wire.send_request(n.WRITE, MIB, 32 * MIB, cookie=number, payload=bytes(64 << 10))
        self.pile_up(server)
        self.check(server, "with 64 writes begun")
        for wire in wires:
            wire.close()
        again = self.use(Wire(server.port))
        again.enter()
        self.assertEqual(again.ask(n.WRITE, 0, 4096, payload=b"g" * 4096)[0], 0, "served once the stalled are gone")
        server.stop()

    def test_a_client_that_asks_much_and_reads_nothing(self):
        server = self.start()
        greedy, modest = self.use(Wire(server.port)), self.use(Wire(server.port))
        greedy.enter()
        modest.enter()
        greedy.sock.setblocking(False)
        request = struct.pack(">IHHQQI", n.REQUEST, 0, n.READ, 9, 0, 256 << 10)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                greedy.sock.send(request * 64)
            except BlockingIOError:
                time.sleep(0.01)
        self.check(server, "with one greedy client")
        for _ in range(100):
            self.assertEqual(modest.ask(n.READ, 0, 4096)[0], 0, "another client is served meanwhile")
        server.stop()

    def test_clients_that_come_and_go_leave_nothing(self):
        server = self.start()
        for _ in range(50):
            with Wire(server.port) as wire:
                wire.enter()
                wire.ask(n.READ, 0, MIB)
        before = counters.rss_bytes(server.pid)
        for _ in range(1000):
            with Wire(server.port) as wire:
                wire.enter()
                wire.ask(n.READ, 0, 4096)
        grown = counters.rss_bytes(server.pid) - before
        self.assertLess(grown, 4 * MIB, f"grew by {grown / MIB:.1f} MiB over 1000 clients")
        server.stop()
