"""The kernel's own iSCSI target, and writes that outlive their session: inside a slow disk; and in one of two portal
groups over the same disks, when the gateway goes on at the other."""
import dataclasses

from lib import case, unaligned
from lib.bystander import Asked
from lib.gateway import Gateway
from lib.tcp_proxy import UP, TcpProxy
from lio import Lio

SIZE, PLACE = 4096, 1 << 20
EARLY_S = 4     # a write that is sent again at once is answered by then, in a guest that is emulated
CLIMB_S = 60
# A connection that stands still is found by its pings; commands never are overdue.
TIMEOUTS = {"command": "60s", "abort": "5s", "lu_reset": "10s", "target_reset": "5s", "nop_interval": "1s",
            "nop_timeout": "2s", "login": "5s", "logout": "5s", "replacement": "120s"}


@dataclasses.dataclass
class Path:
    """What the gateway's configuration wants to know of a target."""
    iqn: str
    portals: list
    chap: object = None


class SlowDisk(case.Case):
    def test_a_write_inside_the_disk_outlives_its_session(self):
        """What a LUN has been asked for hangs in the block layer when the session's connection is cut. It goes on when
        the session is back."""
        target = self.use(Lio())
        proxy = self.use(TcpProxy(target))
        server = self.use(Gateway({"array": Path(target.iqn, [proxy.portal])}, {"vol2": ("array", 2)}, 1,
                                  {"timeouts": TIMEOUTS, "after_silence": "trust"}))
        self.addCleanup(lambda: server.child.alive() and server.stop())
        older, newer = (unaligned.connect(server.uri("vol2")) for _ in range(2))
        before = target.commands(2)
        target.hold()
        write = Asked(lambda: older.pwrite(b"A" * SIZE, PLACE))
        server.child.wait_until(lambda: target.commands(2) > before, "writing", CLIMB_S)
        proxy.cut()
        early = write.answered(EARLY_S)
        if early:
            self.write(newer)
        target.release()
        self.assertTrue(write.answered(CLIMB_S), "the older write is not answered")
        self.assertIsNone(write.error)
        if not early:
            self.write(newer)
        for _ in range(10):
            self.assertEqual(bytes(newer.pread(SIZE, PLACE))[:8], b"B" * 8, "the older write landed on the newer")
        server.stop()

    @staticmethod
    def write(client):
        client.pwrite(b"B" * SIZE, PLACE)
        client.flush()


class OtherPortalGroup(case.Case):
    def test_an_old_write_that_arrives_after_the_change(self):
        """A write is on its way to the first group when the network there stands still. The gateway goes on at the
        second; then the old bytes arrive."""
        target = self.use(Lio())
        proxy = self.use(TcpProxy(target))
        server = self.use(Gateway({"array": Path(target.iqn, [proxy.portal, target.second_portal])},
                                  {"vol1": ("array", 1)}, 1,
                                  {"timeouts": TIMEOUTS, "after_silence": "trust"}))
        # A gateway that ends without a logout is too much for LIO.
        self.addCleanup(lambda: server.child.alive() and server.stop())
        older, newer = (unaligned.connect(server.uri("vol1")) for _ in range(2))
        old = proxy.ids()
        proxy.stall(direction=UP, new=True)
        # What comes first meets the unit attention of a reset at the other group.
        first = Asked(lambda: newer.pread(SIZE, 0))
        write = Asked(lambda: older.pwrite(b"A" * SIZE, PLACE))
        elsewhere = Asked(lambda: unaligned.connect(server.uri("vol1")).pwrite(b"E" * SIZE, 2 * PLACE))
        server.child.wait_log(f"at {target.second_portal}", CLIMB_S)
        early = write.answered(EARLY_S)
        if early:
            self.write(newer)
        proxy.resume()
        server.child.wait_until(lambda: not set(old) & {each["id"] for each in proxy.connections()},
                                "rid of its old connection", CLIMB_S)
        self.assertTrue(write.answered(CLIMB_S), "the older write is not answered")
        if not early:
            self.write(newer)
        for _ in range(10):
            self.assertEqual(bytes(newer.pread(SIZE, PLACE))[:8], b"B" * 8, "the older write landed on the newer")
        for asked in (first, write, elsewhere):
            self.assertTrue(asked.answered(CLIMB_S))
            self.assertIsNone(asked.error)
        server.stop()

    @staticmethod
    def write(client):
        client.pwrite(b"B" * SIZE, PLACE)
        client.flush()
