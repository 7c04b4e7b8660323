"""The right disk: a LUN that becomes another one while sessions go on, or does not say any more which one it is. No
byte goes to a disk that was not looked at since."""
import nbd

from base import InteropCase, gateway_only
from lib import gateway, unaligned
from lib.bystander import Asked, Bystander
from lib.targets import Embedded, Lun, Tgt
from recovery import LADDER_TIMEOUTS, LUN_SIZE

SIZE = 4096
PLACE = 1 << 20
EARLY_S = 1.5     # a write that nothing holds is answered by then
CLIMB_S = 20      # far above a whole climb
UNNOTICED_S = 1.5  # a pause of the others: a busy machine, or a login
TIMEOUTS = {**LADDER_TIMEOUTS, "command": "5s"}


class IdentityCase(InteropCase):
    """The victim is export vol0; export vol1 is another LUN in the same session."""

    def begin(self, target, exports=("vol0", "vol1")):
        self.target = target
        self.server = self.use(gateway.Gateway(
            {"array": target}, {name: ("array", 1 + int(name[-1])) for name in exports}, connections=2,
            target_options={"timeouts": TIMEOUTS}))
        self.client, self.second = (unaligned.connect(self.server.uri()) for _ in range(2))
        self.client.pwrite(b"A" * SIZE, PLACE)
        self.client.flush()
        self.other = self.use(Bystander(self.server.uri("vol1"))) if "vol1" in exports else None

    def write(self, byte, client=None):
        return Asked(lambda: (client or self.client).pwrite(byte * SIZE, PLACE))

    def holds(self, lun, byte):
        """What the disk itself has at the place."""
        with open(lun.path, "rb") as disk:
            disk.seek(PLACE)
            self.assertEqual(disk.read(SIZE)[:8], byte * 8)

    def can_write(self):
        """Whether a client that comes now can."""
        try:
            fresh = unaligned.connect(self.server.uri())
            fresh.pwrite(b"Z" * SIZE, PLACE)
            fresh.flush()
            return True
        except nbd.Error:
            return False

    def works_again(self):
        """And the other LUN was never away."""
        self.server.child.wait_until(self.can_write, "working again", CLIMB_S)
        if self.other:
            self.other.judge(self, UNNOTICED_S)
        self.server.stop()


@gateway_only
class TgtReplaced(IdentityCase):
    def test_another_disk_inside_the_session(self):
        """The LUN is deleted, and one of the same number made on another file; connections stay as they are. tgtd tells
        those who use its other LUNs."""
        self.replaced("vol0", "vol1")

    def test_nobody_is_told(self):
        """Nobody uses another LUN, and so tgtd tells nobody."""
        self.replaced("vol0")

    def replaced(self, *exports):
        first = Lun(LUN_SIZE, identity="first")
        self.begin(self.use(Tgt({1: first, 2: Lun(LUN_SIZE)})), exports)
        second = Lun(LUN_SIZE, identity="second")
        self.target.replace(1, second)
        held = self.write(b"B")
        held.answered(EARLY_S)
        self.holds(second, b"\0")
        self.assertFalse(held.good(), "a write to another disk was answered well")
        self.target.replace(1, first)
        self.assertTrue(held.answered(CLIMB_S), "the write is not answered though its disk is back")
        if held.good():
            self.holds(first, b"B")
        self.works_again()
        self.holds(second, b"\0")
        self.holds(first, b"Z")


@gateway_only
class Told(IdentityCase):
    """The embedded target says that LUN 1 is another disk, and lets it be known in the ways that there are."""

    def become_another(self, **how):
        self.begin(self.use(Embedded({1: (lun := Lun(LUN_SIZE)), 2: Lun(LUN_SIZE)}, control=True)))
        self.lun, self.faults = lun, self.target.faults
        return self.faults.post("identity", lun=1, serial="OTHER", **how)

    def nothing_lands_until_it_is_back(self, *faults):
        held = self.write(b"B")
        held.answered(EARLY_S)
        self.holds(self.lun, b"A")
        self.assertFalse(held.good(), "a write to another disk was answered well")
        for fault in faults:
            self.faults.delete(fault)
        # Whatever makes the gateway look: here the connections go.
        self.faults.post("drop_connection")
        self.assertTrue(held.answered(CLIMB_S), "the write is not answered though its disk is back")
        if held.good():
            self.holds(self.lun, b"B")
        self.server.child.wait_until(self.can_write, "working again", CLIMB_S)
        self.assertIsNone(self.other.failure)
        self.server.stop()

    def test_inventory_changed(self):
        self.nothing_lands_until_it_is_back(self.become_another(asc=0x3F, ascq=0x0E))

    def test_identity_changed(self):
        self.nothing_lands_until_it_is_back(self.become_another(asc=0x3F, ascq=0x05))

    def test_away_for_a_while(self):
        """LOGICAL UNIT NOT SUPPORTED until the other disk is there, which says nothing by itself."""
        identity = self.become_another()
        away = self.faults.post("check_condition", lun=1, key=5, asc=0x25, ascq=0)
        told = self.write(b"B", self.second)
        self.server.child.wait_until(lambda: self.faults.hits(away) > 0, "told", CLIMB_S)
        self.faults.delete(away)
        self.nothing_lands_until_it_is_back(identity)
        self.assertTrue(told.answered(CLIMB_S), "the first write is not answered")


@gateway_only
class Unreadable(IdentityCase):
    """A login at which the LUN does not say which disk it is makes no disk acceptable at the next."""

    def relogin(self, condition, what):
        self.faults.post("drop_connection")
        self.server.child.wait_until(condition, what, CLIMB_S)

    def refused(self, pages):
        lun = Lun(LUN_SIZE)
        self.begin(self.use(Embedded({1: lun, 2: Lun(LUN_SIZE)}, control=True)))
        self.faults = self.target.faults
        refusals = [self.faults.post("refuse_vpd", lun=1, page=page) for page in pages]
        self.relogin(lambda: all(self.faults.hits(each) for each in refusals), "asking who is there")
        identity = self.faults.post("identity", lun=1, serial="OTHER")
        for each in refusals:
            self.faults.delete(each)
        before = self.tsih()
        self.relogin(lambda: self.tsih() not in (None, before), "logged in again")
        held = self.write(b"B")
        held.answered(EARLY_S)
        self.holds(lun, b"A")
        self.assertFalse(held.good(), "a write to another disk was answered well")
        self.faults.delete(identity)
        self.faults.post("drop_connection")
        self.assertTrue(held.answered(CLIMB_S), "the write is not answered though its disk is back")
        self.server.child.wait_until(self.can_write, "working again", CLIMB_S)
        self.assertIsNone(self.other.failure)
        self.server.stop()

    def tsih(self):
        return next((each["tsih"] for each in self.faults.sessions()), None)

    def test_serial_number_and_designators_are_refused(self):
        self.refused((0x80, 0x83))

    def test_the_list_of_pages_is_refused(self):
        self.refused((0x00,))


del IdentityCase  # no tests by themselves
