"""Ports in standby, LUNs that are unmapped for a while, arrays that fail over: all of it is waited for, and a portal where
a LUN cannot be used is left for the next one."""
import errno
import json
import time

import nbd

from base import gateway_only
from lib import admin, gateway, unaligned
from lib.targets import Embedded, Lun
from recovery import CONNECTION_TIMEOUTS, LUN_SIZE, RecoveryCase

STANDBY = {"key": 2, "asc": 0x04, "ascq": 0x0b}
TRANSITION = {"key": 2, "asc": 0x04, "ascq": 0x0a}
BECOMING_READY = {"key": 2, "asc": 0x04, "ascq": 0x01}
NOT_CONFIGURED = {"key": 2, "asc": 0x68, "ascq": 0x00}
NOT_SUPPORTED = {"key": 5, "asc": 0x25, "ascq": 0x00}
AWAY_S = 8
# From the end of the trouble until I/O flows again: a LUN that is not ready is looked at every 5 s.
BACK_S = 8


class Failover(RecoveryCase):
    def begin(self, controllers, luns=(1,), before=lambda faults: None, **options):
        self.target = self.use(Embedded({number: Lun(LUN_SIZE) for number in luns}, control=True, controllers=controllers))
        before(self.target.faults)
        exports = {f"vol{place}": ("array", number) for place, number in enumerate(luns)}
        self.server = self.use(gateway.Gateway({"array": self.target}, exports, admin="http", **options))

    def session(self):
        return json.loads(admin.get(self.server.admin_port, "/v1/sessions/array").body)

    def state(self, name="vol0"):
        return json.loads(admin.get(self.server.admin_port, f"/v1/exports/{name}").body)

    def wait(self, condition, what, within_s=20):
        self.server.child.wait_until(condition, what, within_s)


@gateway_only
class Portals(Failover):
    def test_the_first_portal_is_in_standby(self):
        """From the beginning: the gateway goes on to the second one by itself, and says why."""
        self.begin(2, before=lambda faults: faults.post("check_condition", portal=1, **STANDBY))
        self.wait(lambda: self.state()["state"] == "online", "online at the second portal")
        session = self.session()
        self.assertEqual((session["portal"], session["portal_group"]), (self.target.portals[1], 2))
        self.assertIn(f"{self.target.portals[0]} was left: export vol0 cannot be used there", session["portal_reason"])
        self.server.stop()

    def test_fails_over_under_load(self):
        """The active port goes into standby in the middle of everything: the load sees a pause."""
        self.begin(2)
        self.wait(lambda: self.state()["state"] == "online", "online")
        self.assertEqual(self.session()["portal_group"], 1)
        with self.under_load(self.server) as load:
            begin = time.monotonic()
            self.target.faults.post("check_condition", portal=1, **STANDBY)
            self.wait(lambda: self.session()["portal_group"] == 2, "gone to the second portal")
            self.flows(self.server, load, BACK_S, "after a failover")
            print(f"  I/O flowed again {time.monotonic() - begin:.1f} s after the failover", flush=True)
        self.server.stop()

    def test_another_lun_works_there(self):
        """Of two LUNs one is in standby: the session stays for the sake of the other."""
        self.begin(2, luns=(1, 2), before=lambda faults: faults.post("check_condition", portal=1, lun=2, **STANDBY))
        self.wait(lambda: self.state("vol0")["state"] == "online", "online with the one")
        self.wait(lambda: self.state("vol1")["state"] == "offline", "offline with the other")
        time.sleep(3)
        self.assertEqual(self.session()["portal_group"], 1)
        self.assertIn("not ready", self.state("vol1")["reason"])
        self.assertEqual(self.session()["counters"]["losses"], 0)
        self.server.stop()

    def test_standby_everywhere(self):
        """There is nowhere to go: it is tried once in a while, and no storm."""
        self.begin(2, before=lambda faults: faults.post("check_condition", **STANDBY))
        self.wait(lambda: self.session()["portal_group"] == 2, "at the second portal")
        time.sleep(10)
        self.assertLessEqual(self.session()["counters"]["logins"], 2)
        self.target.faults.clear()
        self.wait(lambda: self.state()["state"] == "online", "online", BACK_S)
        self.server.stop()


@gateway_only
class Away(Failover):
    """A LUN that cannot be used for a while, with one portal: nobody sees an error."""

    def away(self, **sense):
        self.begin(1)
        self.wait(lambda: self.state()["state"] == "online", "online")
        with self.under_load(self.server) as load:
            fault = self.target.faults.post("check_condition", lun=1, **sense)
            time.sleep(AWAY_S)
            self.target.faults.delete(fault)
            self.flows(self.server, load, BACK_S, "after the LUN was away")
        self.server.stop()

    def test_standby(self):
        self.away(**STANDBY)

    def test_in_transition(self):
        self.away(**TRANSITION)

    def test_becoming_ready(self):
        self.away(**BECOMING_READY)

    def test_not_configured(self):
        self.away(**NOT_CONFIGURED)

    def test_unmapped(self):
        """As an array does that moves a volume; it also asks for a logout."""
        self.away(**NOT_SUPPORTED)

    def test_unmapped_beside_a_logout(self):
        self.begin(1)
        self.wait(lambda: self.state()["state"] == "online", "online")
        with self.under_load(self.server) as load:
            fault = self.target.faults.post("check_condition", lun=1, **NOT_SUPPORTED)
            self.target.faults.post("async_event", event=1, parameter3=5)
            time.sleep(AWAY_S)
            self.target.faults.delete(fault)
            self.flows(self.server, load, BACK_S, "after the volume was moved")
        self.server.stop()


@gateway_only
class Storms(Failover):
    """What the target does to a command whenever it comes: it ends, and the others go on."""
    # The model's blocks are the first; fio has its own, behind them.
    VICTIM = LUN_SIZE // 4096 - 1

    def begin(self, **options):
        super().begin(1, target_options={"timeouts": {**CONNECTION_TIMEOUTS, "command": "2s", "abort": "1s",
                                                      "lu_reset": "1s", "target_reset": "1s"}}, **options)
        self.wait(lambda: self.state()["state"] == "online", "online")

    def test_a_reject_that_leaves_a_hole(self):
        """Everything behind it waits at the target: the session is renewed, once for each, and nobody sees it."""
        self.begin()
        with self.under_load(self.server) as load:
            for number in range(3):
                fault = self.target.faults.post("reject", opcode="write", hole=True, count=1)
                self.wait(lambda: self.target.faults.hits(fault) == 1, "hit")
                self.flows(self.server, load, BACK_S, "after a hole in CmdSN")
        self.assertEqual(self.session()["counters"]["losses"], 3)
        self.assertNotIn("rung=abort_task", self.server.child.log())
        self.server.stop()

    def test_connections_dropped_at_every_read(self):
        """The reads fail in the end, one by one; there is no storm of logins; writes go on between."""
        self.begin()
        client = unaligned.connect(self.server.uri())
        fault = self.target.faults.post("drop_connection", opcode="read")
        begin = time.monotonic()
        with self.assertRaises(nbd.Error) as refused:
            client.pread(4096, self.VICTIM * 4096)
        took = time.monotonic() - begin
        self.assertEqual(refused.exception.errnum, errno.EIO)
        self.assertGreaterEqual(took, 30)
        self.assert_within(took, 45, "the error")
        self.assertLess(self.session()["counters"]["logins"], 2 * took)
        client.pwrite(b"w" * 4096, 0)
        self.target.faults.delete(fault)
        self.assertEqual(client.pread(4096, 0), b"w" * 4096)
        self.server.stop()


del Failover
