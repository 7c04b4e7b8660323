"""Nothing passes as read, written, zeroed or flushed that was not, whatever the target says."""
import errno
import time

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, gateway, unaligned
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
            target_options={"timeouts": TIMEOUTS, **target_options}, admin="http"))
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
class NoResiduals(HonestCase):
    def test_a_target_that_never_says_that_less_came_than_was_asked_for(self):
        """INQUIRY, MODE SENSE and READ CAPACITY are asked for with room to spare, and answered without the U bit."""
        how = {"bytes": 1024, "good": True, "told": False}
        self.begin(*[("short_data", {"opcode": opcode, **how}) for opcode in (0x12, 0x1a, 0x5a, 0x9e)])
        counters = admin.get(self.server.admin_port, "/v1/sessions/array").json()["counters"]
        self.assertEqual((counters["logins"], counters["losses"]), (1, 0))
        for number, command in ((1, "INQUIRY"), (2, "MODE SENSE(6)"), (4, "READ CAPACITY(16)")):
            self.assertGreater(self.faults.hits(number), 0, f"no {command}")
        unit = admin.get(self.server.admin_port, "/v1/exports/vol0").json()["unit"]
        self.assertEqual((unit["vendor"], unit["blocks"] * unit["block_length"]), ("NBDGW", LUN_SIZE))
        self.ends()


@gateway_only
class TenBytes(HonestCase):
    """A LUN that does not know the commands of 16 bytes, beside one that does."""
    SIXTEEN = {"read": 0x88, "write": 0x8a, "flush": 0x91, "write_same": 0x93, "capacity": 0x9e}

    def all_done(self, cookies):
        """All of these end well: an error reply is raised."""
        end = time.monotonic() + CLIMB_S
        for cookie in cookies:
            while not self.client.aio_command_completed(cookie):
                self.assertLess(time.monotonic(), end, "not answered")
                self.client.poll(100)

    def test_everything_in_the_other_form(self):
        self.begin(*[("check_condition", {"lun": 1, "opcode": opcode, "key": 5, "asc": 0x20, "ascq": 0})
                     for opcode in self.SIXTEEN.values()])
        content = {place: bytes([place // SIZE % 251]) * SIZE for place in range(0, 64 * SIZE, SIZE)}
        self.all_done([self.client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), place,
                                              flags=nbd.CMD_FLAG_FUA) for place, data in content.items()])
        self.client.pwrite(b"U" * 700, PLACE + 100)
        self.client.flush()
        self.client.zero(MIB, 8 * MIB)
        self.client.flush()
        for place, data in content.items():
            self.assertEqual(bytes(self.client.pread(SIZE, place)), data)
            self.assertEqual(self.disk(place), data)
        self.assertEqual(bytes(self.client.pread(700, PLACE + 100)), b"U" * 700)
        self.assertEqual(bytes(self.client.pread(MIB, 8 * MIB)), bytes(MIB))
        export = admin.get(self.server.admin_port, "/v1/exports/vol0").json()
        self.assertEqual((export["state"], export["counters"]["errors"]), ("online", 0))
        page = admin.get(self.server.admin_port, "/metrics").body
        for name in ("READ(10)", "WRITE(10)", "WRITE SAME(10)", "SYNCHRONIZE CACHE(10)"):
            self.assertIn(f'nbdgw_scsi_tasks_total{{session="array",opcode="{name}"}}', page)
        self.ends()

    def test_what_is_unlearnt_in_the_middle(self):
        """Firmware that loses the commands while they are in use: those under way are sent again."""
        self.begin()
        self.client.pwrite(b"A" * SIZE, PLACE)
        for opcode in self.SIXTEEN.values():
            self.faults.post("check_condition", lun=1, opcode=opcode, key=5, asc=0x20, ascq=0)
        reads = [nbd.Buffer(SIZE) for _ in range(32)]
        self.all_done([self.client.aio_pread(each, PLACE) for each in reads])
        for each in reads:
            self.assertEqual(bytes(each.to_bytearray()), b"A" * SIZE)
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


@gateway_only
class QuietTarget(HonestCase):
    """It does not raise a unit attention when a session begins, so one that it raises means something."""

    def flushed(self):
        try:
            self.client.flush()
        except nbd.Error as error:
            return error.errnum
        return 0

    def relogin(self):
        """The gateway's own: from those it learns what this target raises at a login. The client sees no error."""
        before = {each["tsih"] for each in self.faults.sessions()}
        reset = admin.post(self.server.admin_port, "/v1/sessions/array/reset", {})
        self.assertEqual(reset.status, 202, reset.body)
        self.server.child.wait_until(lambda: before.isdisjoint({each["tsih"] for each in self.faults.sessions()}),
                                     "logged in again", CLIMB_S)
        self.client.pwrite(b"r" * SIZE, PLACE)

    def test_power_loss_within_an_outage_of_milliseconds(self):
        self.begin(("quiet_login", {}))
        for _ in range(2):
            self.relogin()
            self.assertEqual(self.flushed(), 0, "connections were lost, but no cache")
        self.client.pwrite(b"U" * SIZE, PLACE)
        # The other LUN was flushed all the time; what its client hears of the loss is not judged here.
        self.other.__exit__()
        self.faults.post("power_loss", asc=0x29, ascq=0, drop=True)
        self.assertEqual(self.flushed(), errno.EIO, "the cache was lost, and the FLUSH was answered well")
        self.assertNotEqual(self.disk(PLACE), b"U" * SIZE, "nothing was lost: this test tests nothing")
        self.assertEqual(self.flushed(), 0, "the loss was told twice")
        self.client.pwrite(b"Z" * SIZE, PLACE)
        self.assertEqual(self.flushed(), 0)
        self.server.stop()


del HonestCase  # no tests by themselves
