"""A restart of the gateway under systemd, whose part lib.socket_unit plays: attached clients do not notice it."""
import contextlib
import filecmp
import signal
import struct
import time
from concurrent import futures

import base
from base import gateway_only
from lib import clients, metrics, nbdwire, sockets, targets, workdir
from lib.clients import Fio
from lib.service import Service

MIB = 1 << 20
SIZE = 256 * MIB
STALL_LIMIT_S = 3  # what a restart may cost a client; it takes some hundredths


@gateway_only
class Restart(base.InteropCase):
    def serve(self, **more):
        """A service in front of tgt, whose third LUN is no export."""
        target = self.use(targets.Tgt({lun: targets.Lun(SIZE) for lun in (1, 2, 3)}, max_connections=4))
        return self.use(Service({"array": target}, {"vol0": ("array", 1), "vol1": ("array", 2)}, **more))

    def load(self, service, restarts, **options):
        """Restarts it so often under a load that reads back what it wrote; the longest request in seconds."""
        load = Fio(service.uri(), rw="randwrite", verify="crc32c", serialize_overlap=1, time_based=True,
                   runtime=60, **options).start()
        for _ in range(restarts):
            time.sleep(1)
            service.restart()
        time.sleep(1)
        load.interrupt()
        result = load.finish()
        return max(result[way]["clat_ns"]["max"] for way in ("read", "write")) / 1e9

    def test_fio_over_four_connections(self):
        service = self.serve()
        longest = self.load(service, 6, jobs=4, bs="4k", iodepth=8, size="32m", offset_increment="64m")
        print(f"  the longest request took {longest * 1000:.0f} ms", flush=True)
        self.assert_within(longest, STALL_LIMIT_S, "the longest request")
        self.assertEqual(service.child.log().count("after the restart goes on with export vol0"), 4)

    def test_fio_with_large_blocks(self):
        """Payloads on their way at every restart."""
        service = self.serve()
        self.assert_within(self.load(service, 6, bs="1m", iodepth=8, size="128m"), STALL_LIMIT_S, "the longest request")

    def test_istgt(self):
        service = self.use(Service({"array": self.use(targets.Istgt({0: targets.Lun(SIZE)}))}, {"vol0": ("array", 0)}))
        self.assert_within(self.load(service, 3, bs="16k", iodepth=8, size="64m"), STALL_LIMIT_S, "the longest request")

    def test_nbdcopy(self):
        service = self.serve()
        source, back = workdir.root() / "source.img", workdir.root() / "back.img"
        workdir.random_file(source, SIZE)
        restarts = 0
        with futures.ThreadPoolExecutor(1) as pool:
            copying = pool.submit(clients.nbdcopy, source, service.uri())
            while not copying.done():
                service.restart()
                restarts += 1
                time.sleep(0.1)
            copying.result()
        self.assertGreater(restarts, 2)
        clients.nbdcopy(service.uri(), back)
        self.assertTrue(filecmp.cmp(source, back, shallow=False), "what was copied in is not what came out")

    def test_a_message_cut_in_two(self):
        """A restart in the middle of a header, of a payload, and behind requests that were not taken yet."""
        service = self.serve()
        data = bytes(range(256)) * 1024  # 256 KiB, more than is received at once
        with nbdwire.Wire(service.port) as wire:
            wire.enter()
            self.assertEqual(wire.ask(nbdwire.WRITE, 0, len(data), payload=data)[0], 0)
        write = struct.pack(">IHHQQI", nbdwire.REQUEST, 0, nbdwire.WRITE, 7, MIB, len(data)) + data
        for structured in (False, True):
            for where in (10, 28, 28 + 100_000, len(write)):
                with self.subTest(structured=structured, where=where):
                    with nbdwire.Wire(service.port) as wire:
                        wire.enter(structured=structured)
                        wire.send(write[:where])
                        in_two = where < len(write)
                        if in_two:
                            service.child.wait_until(lambda: sockets.queued(service.port) == 0, "reading what has come")
                        service.child.send(signal.SIGTERM)
                        if in_two:
                            time.sleep(0.1)  # it waits for the payload that it has begun to take
                        wire.send(write[where:])
                        for cookie in range(100, 150):
                            wire.send_request(nbdwire.READ, cookie, 1, cookie=cookie)
                        self.assertEqual(service.child.wait(20), 0)
                        service.launch()
                        self.assertEqual(dict(self.reply(wire) for _ in range(51)), {7: b""} | {
                            cookie: data[cookie:cookie + 1] for cookie in range(100, 150)})

    def test_the_rest_of_a_refused_payload(self):
        """Its answer leaves as soon as the last byte has come, and nothing else is under way then. What the client sends
        after the restart is less than that payload was."""
        service = self.serve()
        length = 512 * 1024  # so much that the gateway waits for it to come
        write = struct.pack(">IHHQQI", nbdwire.REQUEST, 0, nbdwire.WRITE, 7, SIZE, length) + bytes(length)  # beyond the end
        for where in (28, 28 + 100_000):
            with self.subTest(where=where), nbdwire.Wire(service.port) as wire:
                wire.enter()
                wire.send(write[:where])
                service.child.wait_until(lambda: sockets.queued(service.port) == 0, "reading what has come")
                service.child.send(signal.SIGTERM)
                wire.send(write[where:])
                magic, error, cookie = struct.unpack(">IIQ", wire.recv(16))
                self.assertEqual((magic, cookie), (nbdwire.SIMPLE, 7))
                self.assertNotEqual(error, 0)
                self.assertEqual(service.child.wait(20), 0)
                service.launch()
                self.assertEqual(wire.ask(nbdwire.READ, 0, 512)[0], 0)

    def reply(self, wire):
        """(cookie, data) of the next one; those with data are READs of one byte."""
        head = wire.recv(16)
        if struct.unpack(">I", head[:4])[0] == nbdwire.SIMPLE:
            error, cookie = struct.unpack(">IQ", head[4:])
            data = wire.recv(1) if cookie != 7 else b""
        else:
            error, cookie = 0, struct.unpack(">Q", head[8:])[0]
            data = wire.recv(struct.unpack(">I", wire.recv(4))[0])[8:]
        self.assertEqual(error, 0)
        return cookie, data

    def test_requests_that_are_held(self):
        """There is no target when the gateway is restarted: what waits for it goes on waiting, and is done."""
        for restarts, structured in ((1, False), (2, True)):
            with self.subTest(restarts=restarts, structured=structured):
                target = self.use(targets.Embedded({1: targets.Lun(SIZE)}))
                service = self.use(Service({"array": target}, {"vol0": ("array", 1)}, admin="http"))
                data = bytes(range(256)) * 512  # 128 KiB
                size = len(data)
                with contextlib.ExitStack() as stack:
                    wires = [stack.enter_context(nbdwire.Wire(service.port, timeout_s=60)) for _ in range(3)]
                    for wire in wires:
                        wire.enter(structured=structured)
                    target.kill()
                    for place, wire in enumerate(wires):
                        for number in range(4):
                            wire.send_request(nbdwire.WRITE, (4 * place + number) * MIB, size, cookie=number, payload=data)
                    half = struct.pack(">IHHQQI", nbdwire.REQUEST, 0, nbdwire.WRITE, 9, 0, size) + data
                    wires[0].send(half[:30_000])
                    service.child.wait_until(lambda: self.in_flight(service) == 13, "holding what was asked for")
                    first = service.child
                    for _ in range(restarts):
                        self.assert_within(service.restart(), 5, "the restart")
                    self.assertIn("3 clients are left to the next process with requests that are not answered", first.log())
                    wires[0].send(half[30_000:])
                    target.start()
                    for place, wire in enumerate(wires):
                        for _ in range(4 if place > 0 else 5):
                            self.answered(wire)
                        for number in range(4):
                            got = wire.ask(nbdwire.READ, (4 * place + number) * MIB, size)
                            self.assertEqual(got[:2], (0, data))

    def in_flight(self, service):
        return metrics.Scrape(service.admin_port)("nbdgw_nbd_in_flight", export="vol0")

    def answered(self, wire):
        """A WRITE has ended well; with structured replies, too, that may be told in a simple one."""
        head = wire.recv(16)
        if struct.unpack(">I", head[:4])[0] == nbdwire.SIMPLE:
            self.assertEqual(struct.unpack(">I", head[4:8])[0], 0)
        else:
            self.assertEqual((struct.unpack(">HH", head[4:8]), wire.recv(4)), ((1, 0), bytes(4)))

    def test_over_a_unix_socket(self):
        service = self.serve()
        with nbdwire.Wire(None, unix=service.socket_path) as wire:
            wire.enter()
            for _ in range(5):
                service.restart()
                self.assertEqual(wire.ask(nbdwire.READ, 0, 512)[0], 0)

    def test_a_kill_keeps_nobody(self):
        """And nothing of the restart before it is taken for the state of now."""
        service = self.serve()
        with nbdwire.Wire(service.port) as wire:
            wire.enter()
            service.restart()
            self.assertEqual(wire.ask(nbdwire.WRITE, 0, 512, payload=bytes(512))[0], 0)
            self.assertEqual(service.manager.stored, [])
            service.restart(signal.SIGKILL)
            self.assertTrue(wire.closed_by_server())
        with nbdwire.Wire(service.port) as wire:
            wire.enter()
            self.assertEqual(wire.ask(nbdwire.READ, 0, 512)[0], 0)

    def test_another_lun_after_the_restart(self):
        service = self.serve()
        with nbdwire.Wire(service.port) as moved, nbdwire.Wire(service.port) as stays:
            moved.enter()
            stays.enter(b"vol1")
            service.end()
            service.exports["vol0"] = ("array", 3)
            service.write_config()
            service.launch()
            self.assertTrue(moved.closed_by_server())
            self.assertIn("another LUN", service.child.log())
            self.assertEqual(stays.ask(nbdwire.READ, 0, 512)[0], 0)

    def test_a_store_that_is_too_small(self):
        """Who finds no place in it is closed, and the log says what to do."""
        service = self.serve(store=2)
        with nbdwire.Wire(service.port) as first, nbdwire.Wire(service.port) as second:
            first.enter()
            second.enter()
            before = service.child
            service.restart()
            self.assertIn("FileDescriptorStoreMax=2", before.log())
            self.assertTrue(second.closed_by_server())
            self.assertEqual(first.ask(nbdwire.READ, 0, 512)[0], 0)

    def test_a_state_that_is_lost(self):
        """Clients without what they were doing cannot go on, and are told so."""
        service = self.serve()
        with nbdwire.Wire(service.port) as wire:
            wire.enter()
            service.end()
            service.manager.stored = [(name, fd) for name, fd in service.manager.stored if name != "nbdgw-state"]
            service.launch()
            self.assertTrue(wire.closed_by_server())
            self.assertIn("what they were doing is not there", service.child.log())

    def test_a_service_manager_that_hangs(self):
        """It neither holds up the end for long, nor does anybody go on with what it may pass a second time."""
        service = self.serve()
        with nbdwire.Wire(service.port) as wire:
            wire.enter()
            service.end()
            stored = list(service.manager.stored)
            service.manager.deaf = True
            child = service.manager.start("nbdgw", service.child.argv[4:])
            child.wait_log("their connections are closed")
            self.assertTrue(wire.closed_by_server())
            self.assertEqual(service.manager.stored, stored)
            begin = time.monotonic()
            self.assertEqual(child.stop(), 0)
            self.assert_within(time.monotonic() - begin, 10)
            service.manager.deaf = False
            service.launch()

    def test_without_a_store(self):
        """The clients are sent away, as ever."""
        service = self.serve(store=0)
        with nbdwire.Wire(service.port) as wire:
            wire.enter()
            service.restart()
            self.assertTrue(wire.closed_by_server())
