"""A connection that has to wait, for its own replies to leave or for memory, goes on afterwards: a hang is a failure."""
import struct

from base import MIB, InteropCase, gateway_only, serve
from lib import clients, metrics, nbdwire as n
from lib.nbdwire import Wire
from lib.targets import Lun, Tgt

SIZE = 128 * MIB
LEAST_MEMORY = "40MiB"  # that one worker may have
LARGEST = 32 * MIB      # of one request
HUNG_S = 90


@gateway_only
class Stalls(InteropCase):
    def start(self, **limits):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(serve(target, extra={"limits": limits, "workers": 1}, admin="http"))
        clients.nbdinfo(server.uri())
        return server

    def check_stalled(self, server):
        """What was to be met was met."""
        self.assertGreater(metrics.Scrape(server.admin_port).total("nbdgw_nbd_memory_stalls_total"), 0)

    def mixed_sizes(self, in_flight):
        server = self.start(in_flight_per_connection=in_flight, memory=LEAST_MEMORY)
        clients.Fio(server.uri(), jobs=8, rw="randrw", bssplit="64k/50:8m/50", iodepth=16, size=SIZE,
                    io_size=64 * MIB).run(timeout_s=HUNG_S)
        self.check_stalled(server)
        server.stop()

    def test_small_and_large_requests_one_in_flight(self):
        self.mixed_sizes(1)

    def test_small_and_large_requests_two_in_flight(self):
        self.mixed_sizes(2)

    def test_small_and_large_requests_four_in_flight(self):
        self.mixed_sizes(4)

    def behind(self, server, requests):
        """Requests in one piece, and a READ behind them for which there is no memory as their replies leave: another
        client holds it, by not reading what it has asked for."""
        holder = self.use(Wire(server.port))
        holder.enter()
        holder.send_request(n.READ, 0, LARGEST)
        server.child.wait_until(lambda: metrics.Scrape(server.admin_port).total("nbdgw_memory_used_bytes") > LARGEST / 2,
                                "holding the memory")
        wire = self.use(Wire(server.port))
        wire.enter()
        wire.send(b"".join(struct.pack(">IHHQQI", n.REQUEST, 0, command, cookie, 0, length)
                           for cookie, (command, length) in enumerate(requests + [(n.READ, LARGEST)])))
        for _ in requests:
            error, cookie = wire.simple_reply()
            self.assertEqual(error, 0)
            wire.recv(requests[cookie][1] if requests[cookie][0] == n.READ else 0)
        self.assertEqual(holder.answer(n.READ, 0, LARGEST)[0], 0)
        self.assertEqual(wire.answer(n.READ, 0, LARGEST, cookie=len(requests))[0], 0)
        self.check_stalled(server)
        server.stop()

    def test_a_large_read_behind_more_empty_requests_than_replies_may_wait(self):
        self.behind(self.start(memory=LEAST_MEMORY), [(n.READ, 0)] * 257)

    def test_a_large_read_behind_others_at_the_limit_in_flight(self):
        for in_flight in (1, 2, 4):
            with self.subTest(in_flight=in_flight):
                server = self.start(memory=LEAST_MEMORY, in_flight_per_connection=in_flight)
                self.behind(server, [(n.READ, 4096)] * in_flight)
