"""Nothing passes as read, written or zeroed that was not, whatever the target says."""
from base import MIB, InteropCase, gateway_only
from lib import gateway, unaligned
from lib.bystander import Asked, Bystander
from lib.targets import Embedded, Lun
from recovery import LADDER_TIMEOUTS, LUN_SIZE

SIZE = 4096
PLACE = 1 << 20
CLIMB_S = 20      # far above a whole climb
UNNOTICED_S = 1.5  # a pause of the others: a busy machine, or a login
TIMEOUTS = {**LADDER_TIMEOUTS, "command": "5s"}


class HonestCase(InteropCase):
    """The victim is export vol0; export vol1 is another LUN in the same session."""

    def begin(self, *states, options=(), **target_options):
        """`states`: faults that are there before the gateway looks at the LUN."""
        self.lun = Lun(LUN_SIZE)
        self.target = self.use(Embedded({1: self.lun, 2: Lun(LUN_SIZE)}, control=True, options=options))
        self.faults = self.target.faults
        for kind, fields in states:
            self.faults.post(kind, **fields)
        self.server = self.use(gateway.Gateway(
            {"array": self.target}, {"vol0": ("array", 1), "vol1": ("array", 2)}, connections=2,
            target_options={"timeouts": TIMEOUTS, **target_options}))
        self.client = unaligned.connect(self.server.uri())
        self.other = self.use(Bystander(self.server.uri("vol1")))

    def disk(self, offset, size=SIZE):
        with open(self.lun.path, "rb") as disk:
            disk.seek(offset)
            return disk.read(size)

    def ends(self, within_s=UNNOTICED_S):
        self.client.pwrite(b"Z" * SIZE, PLACE)
        self.client.flush()
        self.assertEqual(bytes(self.client.pread(SIZE, PLACE)), b"Z" * SIZE)
        self.other.judge(self, within_s)
        self.server.stop()


@gateway_only
class Shortfall(HonestCase):
    """A command ends well, and not all of its data was moved."""
    HOW = [{"good": good, "told": told, "bytes": size}
           for good in (False, True) for told in (True, False) for size in (0, 1024)]

    def test_reads(self):
        self.begin()
        self.client.pwrite(b"R" * SIZE, PLACE)
        for how in self.HOW:
            with self.subTest(**how):
                fault = self.faults.post("short_data", lun=1, opcode="read", count=1, **how)
                read = Asked(lambda: bytes(self.client.pread(SIZE, PLACE)))
                self.assertTrue(read.answered(CLIMB_S), "the read is not answered")
                self.assertEqual(self.faults.hits(fault), 1)
                self.assertIsNone(read.error)
                self.assertEqual(read.value, b"R" * SIZE)
        self.ends()

    def test_writes(self):
        """The target asks for a part of the data only."""
        self.begin(options=["--initial-r2t", "true", "--immediate-data", "false"])
        for number, how in enumerate(self.HOW):
            with self.subTest(**how):
                fault = self.faults.post("short_data", lun=1, opcode="write", count=1, **how)
                place = PLACE + (number + 1) * SIZE
                written = Asked(lambda: self.client.pwrite(b"W" * SIZE, place))
                self.assertTrue(written.answered(CLIMB_S), "the write is not answered")
                self.assertEqual(self.faults.hits(fault), 1)
                self.assertIsNone(written.error)
                self.assertEqual(self.disk(place), b"W" * SIZE)
        self.ends()

    def test_every_one(self):
        """It is tried again, but not for ever. Data that the target does not ask for counts as moved when it was sent."""
        self.begin(retries=2, options=["--initial-r2t", "true", "--immediate-data", "false"])
        for command in ("read", "write"):
            with self.subTest(command):
                fault = self.faults.post("short_data", lun=1, opcode=command, bytes=0, told=False)
                asked = Asked(lambda: self.client.pread(SIZE, PLACE) if command == "read"
                              else self.client.pwrite(b"W" * SIZE, PLACE))
                self.assertTrue(asked.answered(CLIMB_S), "it is tried again and again")
                self.assertIsNotNone(asked.error, "nothing was moved, and it was answered well")
                self.assertEqual(asked.error.errno, "EIO")
                self.faults.delete(fault)
        self.ends()


@gateway_only
class WriteSame(HonestCase):
    def test_a_unit_that_counts_in_16_bits(self):
        """It tells no limit for WRITE SAME, and takes 65,536 blocks for all there are, as units do that know only 16 bits
        of the number."""
        self.begin(("write_same_16", {"lun": 1}))
        for length in (32 * MIB, 40 * MIB):
            with self.subTest(length=length):
                self.client.pwrite(b"0" * SIZE, length - SIZE)
                self.client.pwrite(b"K" * SIZE, length)
                self.client.zero(length, 0)
                self.assertEqual(bytes(self.client.pread(SIZE, length - SIZE)), bytes(SIZE), "was to be zeroed")
                self.assertEqual(bytes(self.client.pread(SIZE, length)), b"K" * SIZE, "was to stay")
        self.ends(CLIMB_S)


del HonestCase  # no tests by themselves
