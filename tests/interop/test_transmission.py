"""Transmission under bad input and at the edges, on raw sockets: exact errors, payload consumed, stream in sync."""
import struct

from base import MIB, InteropCase, SharedServer, gateway_only
from lib import gateway, nbdwire as n
from lib.nbdwire import Closed, Wire
from lib.targets import Lun, Tgt

SIZE = 128 * MIB


class _Transmission:
    structured = False

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)})

    def setUp(self):
        self.wire = self.use(Wire(self.server.port))
        self.wire.enter(structured=self.structured)

    def expect(self, error, command, offset=0, length=0, flags=0, payload=b""):
        """The request gets this error, and the connection is still in sync."""
        got, _, text = self.wire.ask(command, offset, length, flags, payload)
        self.assertEqual(got, error, text)
        if error and self.structured and command == n.READ:
            self.assertTrue(text, "a structured error says why")
        self.assertEqual(self.wire.ask(n.READ, 4096, 512)[0], 0, "in sync afterwards")

    def test_beyond_the_end(self):
        for offset, length in ((SIZE, 512), (SIZE - 512, 1024), (SIZE - 1, 2), (2**64 - 512, 1024), (2**63, 4096),
                               (2**64 - 1, 1)):
            with self.subTest(offset=offset, length=length):
                self.expect(n.ENOSPC, n.WRITE, offset, length, payload=b"w" * length)
                self.expect(n.ENOSPC, n.WRITE_ZEROES, offset, length)
                self.expect(n.EINVAL, n.READ, offset, length)
                self.expect(n.EINVAL, n.TRIM, offset, length)
        self.expect(n.ENOSPC, n.WRITE_ZEROES, 1, 0xFFFFFFFF)
        self.expect(n.EINVAL, n.TRIM, 1, 0xFFFFFFFF)

    def test_last_bytes(self):
        self.expect(0, n.WRITE, SIZE - 3, 3, payload=b"end")
        self.assertEqual(self.wire.ask(n.READ, SIZE - 3, 3)[:2], (0, b"end"))
        self.expect(0, n.WRITE_ZEROES, SIZE - 2, 2)
        self.assertEqual(self.wire.ask(n.READ, SIZE - 3, 3)[:2], (0, b"e\0\0"))
        self.expect(0, n.TRIM, SIZE - 2, 2)

    def test_unknown_commands(self):
        for command in (8, 9, 100, 0xFFFF):
            with self.subTest(command=command):
                self.expect(n.EINVAL, command)
                self.expect(n.EINVAL, command, 0, 4096)

    def test_commands_not_offered(self):
        self.expect(n.EINVAL, n.BLOCK_STATUS, 0, 4096)
        self.expect(n.EINVAL, n.BLOCK_STATUS, 0, 0xFFFFFFFF)
        self.expect(n.EINVAL, n.CACHE, 0, 4096)

    def test_unknown_flags(self):
        for flags in (32, 64, 0x8000):
            with self.subTest(flags=flags):
                self.expect(n.EINVAL, n.READ, 0, 512, flags)
                self.expect(n.EINVAL, n.WRITE, 0, 512, flags, b"x" * 512)
                self.expect(n.EINVAL, n.FLUSH, 0, 0, flags)
                self.expect(n.EINVAL, n.TRIM, 0, 512, flags)
                self.expect(n.EINVAL, n.WRITE_ZEROES, 0, 512, flags)

    def test_flags_of_other_commands(self):
        self.expect(n.EINVAL, n.READ, 0, 512, n.NO_HOLE)
        self.expect(n.EINVAL, n.READ, 0, 512, n.REQ_ONE)
        self.expect(n.EINVAL, n.READ, 0, 512, n.FAST_ZERO)
        self.expect(n.EINVAL, n.WRITE, 0, 4096, n.DF, b"x" * 4096)
        self.expect(n.EINVAL, n.WRITE, 0, 4096, n.NO_HOLE, b"x" * 4096)
        self.expect(n.EINVAL, n.FLUSH, 0, 0, n.DF)
        self.expect(n.EINVAL, n.TRIM, 0, 4096, n.NO_HOLE)
        self.expect(n.EINVAL, n.WRITE_ZEROES, 0, 4096, n.FAST_ZERO)

    def test_fua_is_accepted_everywhere(self):
        self.expect(0, n.READ, 0, 512, n.FUA)
        self.expect(0, n.WRITE, 0, 512, n.FUA, b"f" * 512)
        self.expect(0, n.TRIM, 0, 512, n.FUA)
        self.expect(0, n.WRITE_ZEROES, 0, 512, n.FUA)
        self.expect(0, n.FLUSH, 0, 0, n.FUA)

    def test_length_zero_keeps_the_connection(self):
        for command in (n.READ, n.WRITE, n.TRIM, n.WRITE_ZEROES):
            with self.subTest(command=command):
                error = self.wire.ask(command, 0, 0)[0]
                self.assertIn(error, (0, n.EINVAL, n.ENOSPC))
                self.assertEqual(self.wire.ask(n.READ, 0, 512)[0], 0)

    def test_flush_with_offset_keeps_the_connection(self):
        self.assertIn(self.wire.ask(n.FLUSH, 512, 512)[0], (0, n.EINVAL))
        self.assertEqual(self.wire.ask(n.READ, 0, 512)[0], 0)

    def test_refused_write_changes_nothing(self):
        self.expect(0, n.WRITE, 8192, 4096, payload=b"a" * 4096)
        self.expect(n.EINVAL, n.WRITE, 8192, 4096, 0x40, b"b" * 4096)
        self.assertEqual(self.wire.ask(n.READ, 8192, 4096)[1], b"a" * 4096)

    def test_32_mib_in_one_request(self):
        data = bytes(range(256)) * (32 * MIB // 256)
        self.expect(0, n.WRITE, 512, 32 * MIB, payload=data)
        error, got, text = self.wire.ask(n.READ, 512, 32 * MIB)
        self.assertEqual(error, 0, text)
        self.assertTrue(got == data, "32 MiB read back")

    def test_larger_than_the_maximum(self):
        error = self.wire.ask(n.READ, 0, 33 * MIB)[0]
        self.assertIn(error, (0, n.EINVAL, n.EOVERFLOW))
        self.assertEqual(self.wire.ask(n.READ, 0, 512)[0], 0)
        try:
            error = self.wire.ask(n.WRITE, 0, 33 * MIB, payload=bytes(33 * MIB))[0]
        except Closed:
            return
        self.assertIn(error, (0, n.EINVAL))
        self.assertEqual(self.wire.ask(n.READ, 0, 512)[0], 0)

    def test_read_and_write_of_4_gib(self):
        self.expect(n.EINVAL, n.READ, 0, 0xFFFFFFFF)
        self.wire.send_request(n.WRITE, 0, 0xFFFFFFFF)
        self.assertTrue(self.wire.closed_by_server())

    def test_large_zeroes_and_trim(self):
        self.expect(0, n.WRITE, 64 * MIB, 4096, payload=b"z" * 4096)
        self.expect(0, n.WRITE_ZEROES, 1000, SIZE - 2000)
        self.assertEqual(self.wire.ask(n.READ, 64 * MIB, 4096)[1], bytes(4096))
        self.expect(0, n.TRIM, 0, SIZE)

    def test_wrong_magic(self):
        for magic in (0x25609514, 0x21E41C71, 0, n.SIMPLE):
            with self.subTest(magic=magic):
                wire = self.use(Wire(self.server.port))
                wire.enter(structured=self.structured)
                wire.send_request(n.READ, 0, 512, magic=magic)
                self.assertTrue(wire.closed_by_server())

    def test_disc_is_not_answered_but_finishes_what_is_running(self):
        self.wire.send_request(n.WRITE, 16 * MIB, MIB, cookie=7, payload=b"d" * MIB)
        self.wire.send_request(n.DISC, offset=99, length=77)
        self.assertEqual(self.wire.answer(n.WRITE, 16 * MIB, MIB, 7)[0], 0)
        self.assertTrue(self.wire.closed_by_server())
        again = self.use(Wire(self.server.port))
        again.enter()
        self.assertEqual(again.ask(n.READ, 17 * MIB - 4, 4)[1], b"dddd")

    def test_client_that_vanishes_in_mid_payload(self):
        self.wire.send_request(n.WRITE, 0, MIB, payload=b"half" * (MIB // 8))
        self.wire.close()
        again = self.use(Wire(self.server.port))
        again.enter()
        self.assertEqual(again.ask(n.READ, 0, 512)[0], 0)

    def test_many_requests_in_one_segment(self):
        count, data = 200, b"".join(struct.pack(">IHHQQI", n.REQUEST, 0, n.READ, cookie, cookie * 512, 512)
                                    for cookie in range(200))
        self.wire.send(data)
        seen = set()
        while len(seen) < count:
            if self.structured:
                flags, kind, cookie, payload = self.wire.chunk()
                self.assertIn(kind, (n.CHUNK_DATA, n.CHUNK_HOLE, n.CHUNK_NONE))
                if not flags & n.DONE:
                    continue
            else:
                error, cookie = self.wire.simple_reply()
                self.assertEqual(error, 0)
                self.wire.recv(512)
            self.assertNotIn(cookie, seen, "answered twice")
            seen.add(cookie)
        self.assertEqual(seen, set(range(count)))

    def test_request_byte_by_byte(self):
        data = struct.pack(">IHHQQI", n.REQUEST, 0, n.WRITE, 5, 4096, 600) + b"q" * 600
        for byte in data:
            self.wire.send(bytes([byte]))
        self.assertEqual(self.wire.answer(n.WRITE, 4096, 600, 5)[0], 0)
        self.assertEqual(self.wire.ask(n.READ, 4096, 600)[1], b"q" * 600)


@gateway_only
class SimpleReplies(_Transmission, SharedServer):
    """A client that did not ask for structured replies, as the kernel's."""

    def test_df_without_structured_replies(self):
        self.expect(n.EINVAL, n.READ, 0, 512, n.DF)


@gateway_only
class StructuredReplies(_Transmission, SharedServer):
    """A client with structured replies, as libnbd and qemu."""
    structured = True

    def test_df_gives_one_chunk(self):
        for length in (512, 65536, 3 * MIB):
            self.wire.send_request(n.READ, 0, length, n.DF)
            flags, kind, _, payload = self.wire.chunk()
            if kind == n.CHUNK_ERROR and length > 65536:
                self.assertEqual(struct.unpack(">I", payload[:4])[0], n.EOVERFLOW)
                continue
            self.assertEqual((kind, len(payload)), (n.CHUNK_DATA, 8 + length))
            if not flags & n.DONE:
                self.assertEqual(self.wire.chunk()[:2], (n.DONE, n.CHUNK_NONE))


@gateway_only
class ReadOnly(InteropCase):
    """An export that the configuration makes read-only."""

    def test_writes_get_eperm(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(gateway.Gateway({"array": target}, {"ro": ("array", 1, {"read_only": True})}))
        for structured in (False, True):
            wire = self.use(Wire(server.port))
            _, flags = wire.enter(b"ro", structured)
            self.assertTrue(flags & 2, "READ_ONLY")
            self.assertEqual(wire.ask(n.WRITE, 0, 512, payload=b"x" * 512)[0], n.EPERM)
            self.assertEqual(wire.ask(n.WRITE_ZEROES, 0, 512)[0], n.EPERM)
            self.assertEqual(wire.ask(n.TRIM, 0, 512)[0], n.EPERM)
            self.assertEqual(wire.ask(n.READ, 0, 512)[:2], (0, bytes(512)))
        server.stop()


@gateway_only
class LastWords(InteropCase):
    """What a client sends before its goodbye is done, whichever kind of socket it is on, and nothing after it."""

    def test_writes_then_disc_then_close(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, unix=True,
                                          extra={"limits": {"in_flight_per_connection": 4}}))
        for case, unix in enumerate([None, server.unix_path] * 3):
            wire = self.use(Wire(server.port, unix=unix))
            wire.enter()
            base = case * MIB
            parts = []
            for i in range(30):  # each overlaps the one before, so that they wait for each other
                parts.append(self.write(base + i * 512, bytes([i + 1]) * 1024))
            parts.append(struct.pack(">IHHQQI", n.REQUEST, 0, n.DISC, 0, 0, 0))
            wire.send(b"".join(parts))
            wire.close()
        server.child.wait_until(lambda: server.child.log().count("detached from export") == 6, "done with all clients")
        server.stop()
        with open(target.luns[1].path, "rb") as disk:
            for case in range(6):
                disk.seek(case * MIB)
                data = disk.read(31 * 512)
                self.assertEqual([data[i * 512] for i in range(31)], [*range(1, 31), 30], f"client {case}")

    def test_what_comes_after_a_goodbye(self):
        target = self.use(Tgt({1: Lun(SIZE)}))
        server = self.use(gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, unix=True))
        for case, unix in enumerate([None, server.unix_path] * 3):
            wire = self.use(Wire(server.port, unix=unix))
            wire.enter()
            wire.send(struct.pack(">IHHQQI", n.REQUEST, 0, n.DISC, 0, 0, 0) + self.write(case * MIB, b"late" * 256))
            wire.close()
        server.child.wait_until(lambda: server.child.log().count("detached from export") == 6, "done with all clients")
        server.stop()
        with open(target.luns[1].path, "rb") as disk:
            self.assertNotIn(b"late", disk.read())

    @staticmethod
    def write(offset, payload):
        return struct.pack(">IHHQQI", n.REQUEST, 0, n.WRITE, offset, offset, len(payload)) + payload
