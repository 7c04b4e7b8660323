"""The ladder on targets that we did not write: commands that wait behind a missing CmdSN, a target that stands still,
a network that is gone for longer than the gateway waits."""
import signal
import time

import nbd

from base import InteropCase, gateway_only, serve
from lib import recovery_log, unaligned
from lib.tcp_proxy import BOTH, DOWN, UP, TcpProxy
from lib.targets import Istgt, Lun, Tgt
from recovery import LADDER_TIMEOUTS, LUN_SIZE, RecoveryCase

# Without pings a connection that stands still is found by its commands' deadlines, not by the keepalive.
NO_PINGS = {**LADDER_TIMEOUTS, "nop_interval": "0s"}
COMMAND_S, TMF_S = 1.5, 1
MARGIN_S = 1.5  # a climb may take a second more than its timers; the rest is for a busy machine


class LadderCase(RecoveryCase):
    lun = 1

    def begin(self, target, timeouts=NO_PINGS, **target_options):
        self.target = self.use(target)
        self.proxy = self.use(TcpProxy(self.target))
        self.server = self.use(serve(self.proxy, self.lun, target_options={"timeouts": timeouts, **target_options}))

    def joined(self):
        self.server.child.wait_until(lambda: len(self.proxy.ids()) == 4, "connected four times")
        return self.proxy.ids()

    def login_sent(self, before):
        """Whether the target's socket has something of a connection that was not there before."""
        return any(each["up"] > 0 for each in self.proxy.connections() if each["id"] not in before)

    def climbed(self):
        return recovery_log.climbed(self.server.child.log())

    def wait_for(self, rung):
        self.server.child.wait_until(lambda: any(step.startswith(rung) for step in self.climbed()), f"at {rung}")


@gateway_only
class Parked(LadderCase):
    """One connection does not deliver, so its CmdSNs are missing, and tgtd parks what the others have brought. To tgtd
    a parked command does not exist: it answers an abort with "task does not exist" and executes it all the same once
    the hole is filled; a LUN reset does not end it either."""

    def test_until_the_session_is_reset(self):
        """The aborts get no answer on the stalled connection. When its bytes arrive at last, they are of a session
        that is over."""
        self.begin(Tgt({1: Lun(LUN_SIZE)}))
        with self.under_load(self.server) as load:
            ids = self.joined()
            self.proxy.stall(ids[-1], UP)
            self.given_up(self.server, self.proxy, ids, COMMAND_S + TMF_S + MARGIN_S)
            self.flows(self.server, load, MARGIN_S, "with a new session")
            self.proxy.resume()
        self.server.stop()
        climbed = self.climbed()
        self.assertEqual(climbed[:4], ["timeout success", "abort_task timed_out", "session_reset success",
                                       "relogin success"])
        self.assertIn(climbed[4:], ([], ["lu_reset success"]))  # where writes had been sent whole

    def test_the_hole_is_filled_during_an_abort(self):
        """All that was parked is executed and answered, and then the abort arrives."""
        self.begin(Tgt({1: Lun(LUN_SIZE)}))
        with self.under_load(self.server) as load:
            ids = self.joined()
            self.proxy.stall(ids[-1], UP)
            self.wait_for("timeout")
            self.proxy.resume()
            self.flows(self.server, load, MARGIN_S, "with the hole filled")
        self.server.stop()
        self.assertIn("timeout success", self.climbed())

    def test_again_and_again(self):
        """The stall ends at a different point of the climb each time."""
        self.begin(Tgt({1: Lun(LUN_SIZE)}))
        with self.under_load(self.server) as load:
            for count, stall_s in ((1, 1.0), (2, 1.6), (1, 1.9), (3, 2.4), (1, 2.7)):
                self.proxy.stall(self.joined()[-count:], UP)
                time.sleep(stall_s)
                self.proxy.resume()
                self.flows(self.server, load, COMMAND_S + TMF_S + MARGIN_S, f"after a stall of {stall_s} s")
        self.server.stop()

    def test_tgtd_stands_still_during_an_abort(self):
        self.begin(Tgt({1: Lun(LUN_SIZE)}))
        with self.under_load(self.server) as load:
            self.joined()
            self.target.child.send(signal.SIGSTOP)
            self.wait_for("timeout")
            self.target.child.send(signal.SIGCONT)
            self.flows(self.server, load, MARGIN_S, "with tgtd going on")
        self.server.stop()

    def test_tgtd_stands_still_until_the_session_is_reset(self):
        self.begin(Tgt({1: Lun(LUN_SIZE)}))
        with self.under_load(self.server) as load:
            ids = self.joined()
            self.target.child.send(signal.SIGSTOP)
            self.wait_for("session_reset")
            self.server.child.wait_until(lambda: self.login_sent(ids), "logging in again")
            self.target.child.send(signal.SIGCONT)
            # The login under way has reached tgtd's socket; a pause between logins may have begun.
            self.flows(self.server, load, 2 + MARGIN_S, "with tgtd going on")
        self.server.stop()
        self.assertIn("relogin success", self.climbed())


class FastAbortCases(LadderCase):
    """istgt reads nothing else from a connection while it waits for the data of a write there. Its R2Ts are held up
    until the writes are overdue; what then is: either way of treating the data must end well."""
    lun = 0
    fast_abort = True

    def stalled(self, direction):
        self.begin(Istgt({0: Lun(LUN_SIZE)}), timeouts={**NO_PINGS, "login": "15s", "lu_reset": "15s"}, fast_abort=self.fast_abort)
        with self.under_load(self.server, bs="64k", rate_iops=100) as load:
            self.proxy.stall(self.joined()[-1], direction)
            self.wait_for("timeout")
            self.proxy.resume()
            # istgt waits for a missing CmdSN for up to 10 s before it lets a new session in, or answers its reset.
            self.flows(self.server, load, COMMAND_S + TMF_S + 14, f"after a stall ({direction})")
        self.server.stop()
        self.assertIn("timeout success", self.climbed())

    def test_answers_held_up(self):
        self.stalled(DOWN)

    def test_connection_held_up(self):
        self.stalled(BOTH)


@gateway_only
class IstgtFastAbort(FastAbortCases):
    pass


@gateway_only
class IstgtNoFastAbort(FastAbortCases):
    fast_abort = False


@gateway_only
class PathLoss(InteropCase):
    """No target for longer than timeouts.replacement."""
    REPLACEMENT_S = 2

    def lose(self, on_path_loss):
        """Returns a client whose next request will find no target, and what brings the target back."""
        target = self.use(Tgt({1: Lun(LUN_SIZE)}))
        proxy = self.use(TcpProxy(target))
        timeouts = {**LADDER_TIMEOUTS, "replacement": f"{self.REPLACEMENT_S}s"}
        self.server = self.use(serve(proxy, target_options={"timeouts": timeouts, "on_path_loss": on_path_loss}))
        handle = unaligned.connect(self.server.uri())
        handle.pwrite(b"a" * 4096, 0)
        proxy.refuse()
        proxy.cut()
        return handle, proxy

    def test_fail(self):
        handle, proxy = self.lose("fail")
        start = time.monotonic()
        with self.assertRaises(nbd.Error) as caught:
            handle.pread(4096, 0)
        waited = time.monotonic() - start
        self.assertEqual(caught.exception.errno, "EIO")
        self.assertGreater(waited, self.REPLACEMENT_S - 0.2)
        self.assert_within(waited, self.REPLACEMENT_S + 1, "failing")
        start = time.monotonic()
        with self.assertRaises(nbd.Error):
            handle.pread(4096, 0)
        self.assert_within(time.monotonic() - start, 1, "failing at once while there is no target")
        proxy.admit()
        self.assertTrue(self.works_again(handle), "the target is back, and requests still fail")
        self.server.stop()

    def works_again(self, handle):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                return bytes(handle.pread(4096, 0)) == b"a" * 4096
            except nbd.Error:
                time.sleep(0.1)
        return False

    def test_hold(self):
        handle, proxy = self.lose("hold")
        buffer = nbd.Buffer(4096)
        cookie = handle.aio_pread(buffer, 0)
        end = time.monotonic() + 2 * self.REPLACEMENT_S
        while time.monotonic() < end:
            handle.poll(100)
            self.assertFalse(handle.aio_command_completed(cookie), "answered with no target there")
        proxy.admit()
        while not handle.aio_command_completed(cookie):
            handle.poll(-1)
        self.assertEqual(bytes(buffer.to_bytearray()), b"a" * 4096)
        self.server.stop()


del LadderCase, FastAbortCases  # no tests by themselves
