"""The handshake under bad input: every row of the protocol's rules, on raw sockets, with its exact answer."""
import struct
import time

from base import MIB, SharedServer, gateway_only
from lib import clients, nbdwire as n
from lib.nbdwire import Closed, Wire
from lib.targets import Lun, Tgt

SIZE = 128 * MIB


@gateway_only
class Handshake(SharedServer):
    """One gateway with a handshake_timeout of 1 s, so that the silent are dropped soon."""
    server_options = {"extra": {"limits": {"handshake_timeout": "1s"}}, "unix": True}

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)})

    def wire(self):
        return self.use(Wire(self.server.port))

    def in_sync(self, wire):
        """The server still follows: the next option gets its answer, and the export can be entered."""
        self.assertEqual(wire.go()[0], n.ACK)
        self.assertEqual(wire.ask(n.READ, 0, 512)[0], 0)

    def refused(self, option, data, *answers):
        """The option is refused with one of the answers, and the connection goes on."""
        wire = self.wire()
        wire.greet()
        (kind, text), = wire.option(option, data)
        self.assertIn(kind, answers, f"{kind:#x}")
        self.assertLessEqual(len(text), 4096)
        text.decode()
        self.in_sync(wire)

    def ends_after(self, wire):
        self.assertTrue(wire.closed_by_server(), "the server should have closed without an answer")

    def test_greeting(self):
        self.assertEqual(self.wire().greet(), n.FIXED_NEWSTYLE | n.NO_ZEROES)

    def test_unknown_client_flag(self):
        wire = self.wire()
        wire.greet(client_flags=7)
        self.ends_after(wire)

    def test_wrong_option_magic(self):
        wire = self.wire()
        wire.greet()
        wire.send_option(n.LIST, magic=0x1234)
        self.ends_after(wire)

    def test_option_longer_than_any_limit(self):
        wire = self.wire()
        wire.greet()
        wire.send_option(0x7777, length=0xFFFFFFFF)
        self.ends_after(wire)

    def test_options_without_end(self):
        wire = self.wire()
        wire.greet()
        with self.assertRaises(Closed):
            for _ in range(10_000):
                wire.option(0x7777)

    def test_says_nothing(self):
        for client_flags in (None, 3):
            with self.subTest(client_flags=client_flags):
                wire = self.wire()
                start = time.monotonic()
                wire.greet(client_flags)
                self.ends_after(wire)
                took = time.monotonic() - start
                self.assertGreater(took, 0.8)
                self.assert_within(took, 4, "the deadline")

    def test_drips_one_byte_at_a_time(self):
        wire = self.wire()
        wire.greet()
        start = time.monotonic()
        wire.send(struct.pack(">QII", n.IHAVEOPT, 0x7777, 1000))
        with self.assertRaises(Closed):
            while time.monotonic() - start < 10:
                wire.send(b"x")
                time.sleep(0.05)
        self.assert_within(time.monotonic() - start, 4, "the deadline is for the whole handshake, not for silence")

    def test_unknown_options(self):
        for option in (0, n.PEEK_EXPORT, 12, 0x7777, 0xFFFFFFFF):
            with self.subTest(option=option):
                self.refused(option, b"abcd", n.UNSUP)

    def test_not_offered_options(self):
        self.refused(n.STARTTLS, b"", n.UNSUP, n.POLICY)
        self.refused(n.STARTTLS, b"x", n.INVALID, n.UNSUP, n.POLICY)
        self.refused(n.EXTENDED, b"", n.UNSUP)
        self.refused(n.EXTENDED, b"x", n.INVALID, n.UNSUP)
        query = struct.pack(">I", 4) + b"vol0" + struct.pack(">II", 1, 15) + b"base:allocation"
        for option in (n.LIST_META, n.SET_META):
            self.refused(option, query, n.UNSUP, n.INVALID)
            self.refused(option, struct.pack(">I", 4) + b"vol0" + struct.pack(">II", 1, 999) + b"base:", n.INVALID,
                         n.UNSUP)

    def test_options_with_unwanted_data(self):
        for option in (n.LIST, n.STRUCTURED_REPLY):
            with self.subTest(option=option):
                self.refused(option, b"x", n.INVALID)
                self.refused(option, bytes(60000), n.INVALID)

    def test_malformed_info_and_go(self):
        name = b"vol0"
        bad = {
            "empty": b"",
            "short": b"\0\0\0",
            "name longer than the option": struct.pack(">I", 5) + name + struct.pack(">H", 0),
            "name of 4 GiB": struct.pack(">I", 0xFFFFFFFF) + name + struct.pack(">H", 0),
            "name fills the place of the count": struct.pack(">I", 6) + name + struct.pack(">H", 0),
            "fewer requests than counted": struct.pack(">I", 4) + name + struct.pack(">HH", 2, 3),
            "more requests than counted": struct.pack(">I", 4) + name + struct.pack(">HHH", 1, 3, 3),
            "one byte too many": Wire.info_payload(name) + b"x",
            "NUL in the name": Wire.info_payload(b"vo\0l"),
            "name of 4097 bytes": Wire.info_payload(b"x" * 4097),
        }
        for what, data in bad.items():
            for option in (n.INFO, n.GO):
                with self.subTest(what=what, option=option):
                    self.refused(option, data, n.INVALID)

    def test_unknown_export(self):
        self.refused(n.GO, Wire.info_payload(b"nosuch"), n.UNKNOWN)
        self.refused(n.INFO, Wire.info_payload(b"x" * 4096), n.UNKNOWN)

    def test_export_name_unknown_or_too_long(self):
        for name in (b"nosuch", b"x" * 4097):
            with self.subTest(length=len(name)):
                wire = self.wire()
                wire.greet()
                wire.send_option(n.EXPORT_NAME, name)
                self.ends_after(wire)

    def test_export_name_with_and_without_zeroes(self):
        for flags, zeroes in ((n.FIXED_NEWSTYLE, True), (n.FIXED_NEWSTYLE | n.NO_ZEROES, False), (0, True)):
            with self.subTest(flags=flags):
                wire = self.wire()
                wire.greet(flags)
                size, transmission = wire.export_name(zeroes=zeroes)
                self.assertEqual(size, SIZE)
                self.assertTrue(transmission & 1, "HAS_FLAGS")
                self.assertFalse(transmission & 0x80, "SEND_DF without structured replies")
                self.assertEqual(wire.ask(n.READ, 0, 512)[0], 0)

    def test_go_never_sends_the_zeroes(self):
        wire = self.wire()
        wire.greet(n.FIXED_NEWSTYLE)
        self.in_sync(wire)

    def test_plain_newstyle_client_may_only_name_an_export(self):
        wire = self.wire()
        wire.greet(client_flags=0)
        wire.send_option(n.LIST)
        try:
            kind = wire.option_reply()[1]
        except Closed:
            return
        self.assertEqual(kind, n.INVALID)

    def test_second_structured_reply(self):
        wire = self.wire()
        wire.greet()
        self.assertEqual(wire.option(n.STRUCTURED_REPLY), [(n.ACK, b"")])
        self.assertEqual(wire.option(n.STRUCTURED_REPLY)[0][0], n.INVALID)
        wire.structured = True
        self.in_sync(wire)

    def test_infos(self):
        wire = self.wire()
        wire.greet()
        asked = (n.INFO_NAME, n.INFO_DESCRIPTION, n.INFO_BLOCK_SIZE, 4242)
        kind, infos, _ = wire.go(requests=asked, option=n.INFO)
        self.assertEqual(kind, n.ACK)
        self.assertEqual(struct.unpack(">QH", infos[n.INFO_EXPORT])[0], SIZE)
        minimum, preferred, maximum = struct.unpack(">III", infos[n.INFO_BLOCK_SIZE])
        self.assertEqual(minimum, 1)
        self.assertTrue(preferred >= 512 and preferred & (preferred - 1) == 0, preferred)
        self.assertGreaterEqual(maximum, MIB)
        self.assertEqual(infos.get(n.INFO_NAME, b"vol0"), b"vol0")
        self.assertNotIn(4242, infos)
        self.assertEqual(wire.go(requests=asked), (kind, infos, ""), "INFO and GO agree")
        self.assertEqual(wire.ask(n.READ, 0, 512)[0], 0)

    def test_list(self):
        wire = self.wire()
        wire.greet()
        replies = wire.option(n.LIST)
        self.assertEqual(replies[-1], (n.ACK, b""))
        (kind, data), = replies[:-1]
        self.assertEqual(kind, n.SERVER)
        length = struct.unpack(">I", data[:4])[0]
        self.assertEqual(data[4:4 + length], b"vol0")
        self.in_sync(wire)

    def test_nbd_client_lists(self):
        done = clients.run(["nbd-client", "-l", "127.0.0.1", str(self.server.port)], check=False)
        self.assertIn("vol0", done.stdout + done.stderr)

    def test_abort(self):
        for data in (b"", b"ignored"):
            with self.subTest(data=data):
                wire = self.wire()
                wire.greet()
                self.assertEqual(wire.option(n.ABORT, data), [(n.ACK, b"")])
                self.ends_after(wire)

    def test_clients_that_vanish_in_mid_handshake(self):
        option = struct.pack(">QII", n.IHAVEOPT, n.GO, 10) + Wire.info_payload()
        whole = struct.pack(">I", 3) + option
        for cut in range(len(whole) + 1):
            with Wire(self.server.port) as wire:
                wire.greet(None)
                wire.send(whole[:cut])
        wire = self.wire()
        wire.greet()
        self.in_sync(wire)

    def test_handshake_byte_by_byte(self):
        wire = self.wire()
        wire.greet(None)
        for byte in struct.pack(">IQII", 3, n.IHAVEOPT, n.GO, 10) + Wire.info_payload():
            wire.send(bytes([byte]))
        self.assertEqual(wire.option_reply()[1], n.REP_INFO)

    def test_unix_socket(self):
        with Wire(None, unix=self.server.unix_path) as wire:
            self.assertEqual(wire.enter()[0], SIZE)
            self.assertEqual(wire.ask(n.WRITE, 0, 512, payload=b"u" * 512)[0], 0)
        clients.qemu_io(self.server.uri(), "read -P 0x75 0 512")
        self.assertEqual(clients.nbdinfo(self.server.unix_uri())["export-size"], SIZE)
