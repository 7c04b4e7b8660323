"""Writes that a target does after all: late data, a slow disk, a controller that stood still. Whatever the gateway made
of the first of two writes to a block, the second one was answered and has to stay."""
import dataclasses

from base import gateway_only
from lib import admin, gateway, unaligned
from lib.bystander import Asked, Bystander
from lib.slow_pwrite import SlowWrite
from lib.targets import Embedded, Lun, Tgt
from lib.tcp_proxy import DOWN, TcpProxy
from recovery import LADDER_TIMEOUTS, LUN_SIZE, RecoveryCase

KIB = 1 << 10
SIZE = 4 * KIB
DATA_OUT = 0x05
BESIDE = "iqn.2026-11.io.nbdgw:beside"
PLACE = 1 << 20   # of the block that is fought for
EARLY_S = 2       # a write that is sent again at once is answered by then
CLIMB_S = 20      # far above a whole climb
UNNOTICED_S = 1.5  # a pause of the others: a busy machine, or a login; less than EARLY_S


class GhostCase(RecoveryCase):
    """The victim is export vol0; export vol1 is another LUN in the same session, and vol2 another target's."""

    def begin(self, target, path, connections, others=("vol1", "vol2"), **timeouts):
        """`path`: how the victim's session goes to the target."""
        self.target, self.path = target, path
        beside = self.use(Embedded({1: Lun(LUN_SIZE)}, iqn=BESIDE))
        self.server = self.use(gateway.Gateway(
            {"array": path, "beside": beside}, {"vol0": ("array", 1), "vol1": ("array", 2), "vol2": ("beside", 1)},
            connections=connections, admin="http",
            # The older write is sent at once, and not behind a look at a LUN that does not answer.
            target_options={"timeouts": {**LADDER_TIMEOUTS, **timeouts}, "after_silence": "trust"}))
        self.older, self.newer = (unaligned.connect(self.server.uri()) for _ in range(2))
        self.others = [self.use(Bystander(self.server.uri(export))) for export in others]

    def wait(self, condition, what):
        self.server.child.wait_until(condition, what)

    def write_older(self):
        return Asked(lambda: self.older.pwrite(b"A" * SIZE, PLACE))

    def write_newer(self):
        self.newer.pwrite(b"B" * SIZE, PLACE)
        self.newer.flush()

    def newer_stays(self):
        """Nothing of the older write is there. A barrier: commands that come after the late one."""
        for _ in range(10):
            self.assertEqual(bytes(self.newer.pread(SIZE, PLACE))[:8], b"B" * 8, "the older write landed on the newer")
            self.newer.flush()

    def ends(self):
        """The gateway is at rest again, and the others have seen nothing."""
        for other in self.others:
            other.judge(self, UNNOTICED_S)
        later = Asked(lambda: self.older.pwrite(b"C" * SIZE, PLACE))
        self.assertTrue(later.answered(CLIMB_S), "the export does not work any more")
        self.assertIsNone(later.error)
        self.assertEqual(self.sessions(), ["logged in"] * 2)
        self.server.stop()

    def sessions(self):
        return [each["state"] for each in admin.get(self.server.admin_port, "/v1/sessions").json()["sessions"]]


@gateway_only
class TgtLateData(GhostCase):
    def test_data_that_arrives_after_a_reset(self):
        """Data-Out is on its way on one connection when a reset on another is answered. tgtd knows nothing of the write
        any more, and does it when the data is there."""
        target = self.use(Tgt({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)},
                              params={"InitialR2T": "Yes", "ImmediateData": "No"}))
        proxy = self.use(TcpProxy(target, pdus=True))
        self.begin(target, proxy, 3, ["vol2"], command="30s")
        self.wait(lambda: len(proxy.ids()) == 3, "connected three times")
        ids = proxy.ids()
        # Reads that are not answered keep the other two connections busy, so that the write takes the third.
        proxy.stall(ids[:2], DOWN)
        sent = lambda: [each["up"] for each in proxy.connections()]
        reads = []
        for _ in range(2):
            before = sent()
            reads.append(Asked(lambda: unaligned.connect(self.server.uri()).pread(64 * KIB, 0)))
            self.wait(lambda: sent() != before, "reading")
        proxy.hold(DATA_OUT)
        older = self.write_older()
        self.wait(lambda: proxy.held() is not None, "sending data")
        self.assertEqual(proxy.held(), ids[2])
        proxy.resume(ids[:2])
        # Or the reset may take the third connection, too, as the other two are still busy.
        for read in reads:
            self.assertTrue(read.answered(CLIMB_S), "a read is not answered")
        reset = admin.post(self.server.admin_port, "/v1/sessions/array/reset-lun", {"lun": 1})
        self.assertEqual(reset.status, 202, reset.body)
        self.assertTrue(older.answered(CLIMB_S), "the older write is not answered")
        self.write_newer()
        proxy.resume()
        self.wait(lambda: proxy.held() is None, "rid of the old data")
        self.newer_stays()
        self.assertIsNone(older.error)
        self.ends()


@gateway_only
class TgtSlowDisk(GhostCase):
    def test_a_write_inside_the_disk_outlives_its_session(self):
        """tgtd closes the connections of a session and leaves alone what is inside pwrite(2). What ends then is the
        session, not the write."""
        slow = SlowWrite(PLACE)
        target = self.use(Tgt({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)}, env=slow.env))
        proxy = self.use(TcpProxy(target))
        self.begin(target, proxy, 2, lu_reset="5s")
        self.wait(lambda: len(proxy.ids()) == 2, "connected twice")
        slow.arm()
        older = self.write_older()
        self.wait(slow.waiting, "writing")
        proxy.cut()
        early = older.answered(EARLY_S)
        if early:
            self.write_newer()
        slow.go_on()
        self.assertTrue(older.answered(CLIMB_S), "the older write is not answered")
        self.wait(slow.done, "done with the old write")
        if not early:
            self.write_newer()
        self.newer_stays()
        self.assertIsNone(older.error)
        self.ends()


@gateway_only
class SlowWriteOutlives(GhostCase):
    """The same at the embedded target, where the write is done when the test says so."""

    def slow(self, until, **timeouts):
        """`until`: what has to be seen while the write is not done, if it is not answered early."""
        target = self.use(Embedded({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)}, control=True))
        self.begin(target, target, 2, ["vol2"], **timeouts)
        faults = target.faults
        slow = faults.post("slow_write", lun=1, count=1)
        older = self.write_older()
        self.wait(lambda: faults.hits(slow) == 1, "writing")
        faults.post("drop_connection")
        self.wait(lambda: older.answered() or until(), "as far as that")
        early = older.answered(EARLY_S)
        if early:
            self.write_newer()
        faults.delete(slow)
        self.assertTrue(older.answered(CLIMB_S), "the older write is not answered")
        self.assertIsNone(older.error)
        if not early:
            self.write_newer()
        self.newer_stays()
        self.ends()

    def logins(self):
        lines = self.target.child.log().splitlines()
        return sum("logged in:" in line and line.endswith("connection 0") for line in lines)

    def test_a_reset_waits_for_it(self):
        self.slow(lambda: self.logins() >= 2, lu_reset="5s")

    def test_a_reset_that_is_not_answered_in_time(self):
        """Again and again; none of them is taken for a proof."""
        self.slow(lambda: self.logins() >= 4, lu_reset="1s")


@dataclasses.dataclass
class Path:
    """How a session goes to a target: what the gateway's configuration wants to know."""
    iqn: str
    portals: list
    chap: object = None


@gateway_only
class OtherPortalGroup(GhostCase):
    """Two controllers before one disk. The first one stands still with a write, the gateway goes on at the second, and
    then the first one goes on, too."""

    def two_controllers(self):
        target = self.use(Embedded({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)}, control=True, controllers=2))
        self.first = self.use(TcpProxy(target))
        # A dead controller is found, and left, within about 2 s.
        self.begin(target, Path(target.iqn, [self.first.portal, target.portals[1]]), 1, ["vol2"], nop_interval="300ms",
                   nop_timeout="300ms", login="1s", command="30s", lu_reset="5s")
        self.faults = target.faults

    def freeze(self):
        return self.faults.post("freeze_portal", portal=1)

    def write_older_into_the_socket(self):
        """Of the first controller, which does not read it."""
        sent = self.first.connections()[0]["up"]
        older = self.write_older()
        self.wait(lambda: self.first.connections()[0]["up"] >= sent + SIZE, "writing")
        return older

    def on_an_errand(self, what=""):
        return f", errand to portal group 1{what}" in self.server.child.log()

    def fail_over(self):
        """Waits until the export works at the second controller: a write of somebody else, to another place."""
        self.wait(lambda: len(self.faults.sessions()) == 2, "logged in at the second controller")
        elsewhere = Asked(lambda: self.newer.pwrite(b"E" * SIZE, 2 * PLACE))
        self.assertTrue(elsewhere.answered(CLIMB_S), "writes to other places wait, too")
        self.assertIsNone(elsewhere.error)

    def fight(self, older, go_on):
        """`go_on` makes the first controller work again."""
        early = older.answered(EARLY_S)
        if early:
            self.write_newer()
        before = {each["tsih"] for each in self.faults.sessions()}
        go_on()
        self.wait(lambda: not before <= {each["tsih"] for each in self.faults.sessions()}, "rid of the old session")
        self.assertTrue(older.answered(CLIMB_S), "the older write is not answered")
        self.assertIsNone(older.error)
        if not early:
            self.write_newer()
        self.newer_stays()
        self.ends()
        return early

    def test_in_the_socket(self):
        """The controller had not read it: no reset at the other one ends it."""
        self.two_controllers()
        frozen = self.freeze()
        filler = Asked(lambda: unaligned.connect(self.server.uri()).pread(SIZE, 0))  # meets the reset's unit attention
        sent = self.first.connections()[0]["up"]
        self.wait(lambda: self.first.connections()[0]["up"] != sent, "reading")
        older = self.write_older_into_the_socket()
        self.fail_over()
        self.fight(older, lambda: self.faults.delete(frozen))
        self.assertTrue(filler.good())

    def test_the_end_with_an_errand_out(self):
        """The first controller never comes back, and the gateway is stopped: nobody waits for it."""
        self.two_controllers()
        self.freeze()
        older = self.write_older_into_the_socket()
        self.fail_over()
        self.wait(lambda: self.on_an_errand(": no session yet"), "on an errand")
        self.assertFalse(older.answered())
        self.server.stop()

    def test_the_session_goes_back_while_an_errand_is_out(self):
        """The second controller stands still in its turn, and the first one is there again: the session itself goes back,
        and the errand is called off, for the two logins would end each other's sessions."""
        self.two_controllers()
        frozen = self.freeze()
        older = self.write_older_into_the_socket()
        self.fail_over()
        self.wait(self.on_an_errand, "on an errand")
        second = self.faults.post("freeze_portal", portal=2)
        self.faults.delete(frozen)
        self.assertTrue(older.answered(CLIMB_S), "the older write is not answered")
        self.assertIsNone(older.error)
        self.write_newer()
        self.faults.delete(second)
        self.newer_stays()
        self.ends()

    def test_redirected_to_the_other_controller(self):
        """The first controller itself sends the next login to the second one: that is another portal group all the same,
        and its login alone proves nothing of the write; a reset of the LUN there does."""
        self.two_controllers()
        hung = self.faults.post("hang_task", opcode="write", lun=1, count=1)
        older = self.write_older()
        self.wait(lambda: self.faults.hits(hung) == 1, "hung up")
        self.newer.pread(SIZE, 0)  # its answer acknowledges the write
        redirect = self.faults.post("redirect", to=self.target.portals[1], count=1)
        self.assertEqual(admin.post(self.server.admin_port, "/v1/sessions/array/reset", {}).status, 202)
        session = lambda: admin.get(self.server.admin_port, "/v1/sessions/array").json()
        self.wait(lambda: session()["state"] == "logged in" and session()["portal_group"] == 2, "at the second controller")
        self.assertEqual(self.faults.hits(redirect), 1)
        self.assertIn("has sent us there for a while", session()["portal_reason"])
        self.assertTrue(older.answered(CLIMB_S), "the older write is not answered")
        self.assertIsNone(older.error)
        self.assertIn("rung=lu_reset", self.server.child.log())
        self.write_newer()
        self.faults.delete(hung)
        self.newer_stays()
        self.ends()

    def test_in_the_queue_acknowledged(self):
        """The controller had said that it has the command: a reset of the LUN at the other one ends it."""
        self.two_controllers()
        hung = self.faults.post("hang_task", opcode="write", lun=1, count=1)
        older = self.write_older()
        self.wait(lambda: self.faults.hits(hung) == 1, "hung up")
        self.newer.pread(SIZE, 0)  # its answer acknowledges the write
        frozen = self.freeze()
        self.fail_over()

        def go_on():
            self.faults.delete(hung)
            self.faults.delete(frozen)

        self.assertTrue(self.fight(older, go_on), "a write that a reset has ended was held all the same")

    def test_in_the_queue_unacknowledged(self):
        """The controller has it, but nobody knows."""
        self.two_controllers()
        self.first.stall(direction=DOWN, new=True)
        hung = self.faults.post("hang_task", opcode="write", lun=1, count=1)
        older = self.write_older()
        self.wait(lambda: self.faults.hits(hung) == 1, "hung up")
        frozen = self.freeze()
        self.fail_over()

        def go_on():
            self.faults.delete(hung)
            self.faults.delete(frozen)
            self.first.resume()

        self.fight(older, go_on)


@gateway_only
class TwoNames(RecoveryCase):
    def begin(self, *options, **extra):
        """`options`: of the second export."""
        names = [f"iqn.2026-11.io.nbdgw:{name}" for name in ("one", "two")]
        self.target = self.use(Embedded({1: Lun(LUN_SIZE)}, control=True, options=["--iqn", names[1]], iqn=names[0]))
        return self.use(gateway.Gateway(
            {"one": Path(names[0], self.target.portals), "two": Path(names[1], self.target.portals)},
            {"vol0": ("one", 1), "vol1": ("two", 1, *options)}, connections=1, admin="http", **extra))

    def test_on_two_threads(self):
        """They cannot be kept apart, and that is told."""
        server = self.begin(extra={"workers": 2, "limits": {"memory": "128MiB"}})
        for export in ("vol0", "vol1"):
            unaligned.connect(server.uri(export)).pwrite(b"C" * SIZE, PLACE)
        told = [each for each in admin.get(server.admin_port, "/v1/events").json()["events"]
                if each["kind"] == "same_disk"]
        self.assertEqual(len(told), 1, told)
        self.assertEqual({told[0]["export"], told[0]["cause"]}, {"vol0", "vol1"})
        page = admin.get(server.admin_port, "/metrics").body
        self.assertIn(f'nbdgw_export_same_disk{{export="{told[0]["export"]}"}} 1', page)
        self.assertIn(f'nbdgw_export_same_disk{{export="{told[0]["cause"]}"}} 0', page)
        server.stop()

    def test_refused(self):
        server = self.begin({"same_disk": "refuse"})
        exports = lambda: {each["name"]: each for each in admin.get(server.admin_port, "/v1/exports").json()["exports"]}
        server.child.wait_until(lambda: "offline" not in {each["state"] for each in exports().values()}, "looked at")
        # Whichever comes first; the one that may be refused is, if it is the second.
        unaligned.connect(server.uri("vol0")).pwrite(b"C" * SIZE, PLACE)
        if exports()["vol1"]["state"] == "refused":
            self.assertIn("vol0", exports()["vol1"]["reason"])
        server.stop()

    def test_one_lun_under_two_names(self):
        """An older write through one name is stuck, and a newer one comes through the other: it waits, or the second
        name is refused."""
        names = [f"iqn.2026-11.io.nbdgw:{name}" for name in ("one", "two")]
        target = self.use(Embedded({1: Lun(LUN_SIZE)}, control=True, options=["--iqn", names[1]], iqn=names[0]))
        beside = self.use(Embedded({1: Lun(LUN_SIZE)}, iqn=BESIDE))
        server = self.use(gateway.Gateway(
            {"one": Path(names[0], target.portals), "two": Path(names[1], target.portals), "beside": beside},
            {"vol0": ("one", 1), "vol1": ("two", 1), "vol2": ("beside", 1)}, connections=1,
            target_options={"timeouts": {**LADDER_TIMEOUTS, "command": "30s"}}))
        other = self.use(Bystander(server.uri("vol2")))
        older = unaligned.connect(server.uri("vol0"))
        hung = target.faults.post("hang_task", opcode="write", count=1)
        Asked(lambda: older.pwrite(b"A" * SIZE, PLACE))
        server.child.wait_until(lambda: target.faults.hits(hung) == 1, "hung up")

        def write_newer():
            newer = unaligned.connect(server.uri("vol1"))
            newer.pwrite(b"B" * SIZE, PLACE)
            newer.flush()

        newer = Asked(write_newer)
        newer.answered(EARLY_S)
        was_early = newer.good()
        target.faults.delete(hung)
        if not was_early:
            newer.answered(EARLY_S)  # the second export may as well be refused
        if newer.good():
            for _ in range(10):
                held = bytes(unaligned.connect(server.uri("vol1")).pread(SIZE, PLACE))
                self.assertEqual(held[:8], b"B" * 8, "the older write landed on the newer")
        again = unaligned.connect(server.uri("vol0"))
        again.pwrite(b"C" * SIZE, PLACE)
        self.assertEqual(bytes(again.pread(SIZE, PLACE))[:8], b"C" * 8)
        other.judge(self, UNNOTICED_S)
        server.stop()


del GhostCase, RecoveryCase  # no tests by themselves
