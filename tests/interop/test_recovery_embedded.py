"""What only a target that misbehaves to order can show: late writes, lost caches."""
import threading
import time

from base import InteropCase, gateway_only, serve
from lib import power_loss, recovery_log, unaligned
from lib.targets import Embedded, Lun
from lib.tcp_proxy import UP, TcpProxy
from recovery import LADDER_TIMEOUTS, LUN_SIZE, RecoveryCase

KIB = 1 << 10
ABORT_TASK, LU_RESET = 1, 5
LATE_MS = 2500  # when a target that lied about an abort does the write after all
CLIMB_S = 20    # far above a whole climb with LADDER_TIMEOUTS


class EmbeddedCase(InteropCase):
    def setUp(self):
        self.target = self.use(Embedded({1: Lun(LUN_SIZE)}, control=True))
        self.faults = self.target.faults
        self.server = self.use(serve(self.target, target_options={"timeouts": LADDER_TIMEOUTS}))


@gateway_only
class GhostWrite(EmbeddedCase):
    """An older write that the target was told to forget must never land on top of a newer one that was answered."""

    def ghost(self, *lies, executed=False):
        """Write A hangs and is climbed for; B, from another client and into the middle of A, comes after it. Both must
        be answered well, and whatever the target still does with A, B must stay."""
        first, second = unaligned.connect(self.server.uri()), unaligned.connect(self.server.uri())
        hung = self.faults.post("hang_task", opcode="write", count=1, executed=executed)
        lies = [self.faults.post("tmf_lies", response=1, delay_ms=LATE_MS, count=1, **lie) for lie in lies]
        failures = []

        def write_a():
            try:
                first.pwrite(b"A" * (64 * KIB), 0)
            except Exception as error:
                failures.append(error)

        writer = threading.Thread(target=write_a, daemon=True)
        writer.start()
        self.server.child.wait_until(lambda: self.faults.hits(hung) == 1, "hung up")
        second.pwrite(b"B" * (4 * KIB), 16 * KIB)
        self.expect_b(second, "at once")
        writer.join(CLIMB_S)
        self.assertFalse(writer.is_alive(), "A is not answered")
        self.assertEqual(failures, [])
        time.sleep(LATE_MS / 1000 + 0.5)
        self.expect_b(second, "after the late write")
        self.assertEqual(bytes(second.pread(16 * KIB, 0)), b"A" * (16 * KIB))
        self.assertEqual(bytes(second.pread(44 * KIB, 20 * KIB)), b"A" * (44 * KIB))
        for lie in lies:
            self.assertEqual(self.faults.hits(lie), 1, "the target had no occasion to lie")
        self.server.stop()
        return recovery_log.climbed(self.server.child.log())

    def expect_b(self, handle, when):
        self.assertEqual(bytes(handle.pread(4 * KIB, 16 * KIB)), b"B" * (4 * KIB), when)

    def test_abort_is_true(self):
        self.assertEqual(self.ghost(), ["timeout success", "abort_task success"])

    def test_abort_is_true_and_the_write_was_done(self):
        self.assertEqual(self.ghost(executed=True), ["timeout success", "abort_task success"])

    def test_abort_lies(self):
        self.assertEqual(self.ghost({"function": ABORT_TASK}),
                         ["timeout success", "abort_task not_found", "lu_reset success"])

    def test_abort_and_lu_reset_lie(self):
        self.assertEqual(self.ghost({"function": ABORT_TASK}, {"function": LU_RESET}),
                         ["timeout success", "abort_task not_found", "lu_reset not_found",
                          "target_warm_reset success"])

    def test_every_function_lies(self):
        climbed = self.ghost({}, {}, {})
        # And then what ends for certain what was inside SCSI.
        self.assertEqual(climbed[-3:], ["session_reset success", "relogin success", "lu_reset success"], climbed)

    def test_late_answer_belongs_to_nothing(self):
        """A read is aborted, well as it seems, and answered after all: no other read may take that for its answer."""
        handle = unaligned.connect(self.server.uri())
        handle.pwrite(b"A" * (4 * KIB), 0)
        handle.pwrite(b"B" * (4 * KIB), 4 * KIB)
        self.faults.post("hang_task", opcode="read", count=1)
        lie = self.faults.post("tmf_lies", response=0, delay_ms=500, late_answer=True, count=1)
        self.assertEqual(bytes(handle.pread(4 * KIB, 0)), b"A" * (4 * KIB))
        self.assertEqual(self.faults.hits(lie), 1)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self.assertEqual(bytes(handle.pread(4 * KIB, 4 * KIB)), b"B" * (4 * KIB))
        self.server.stop()


@gateway_only
class Overtaken(RecoveryCase):
    def test_reset_with_commands_under_way(self):
        """One command hangs, and a connection stalls with commands that the target has not seen. A LUN reset for the
        one would overtake the others, and the target might execute them after it: the reset waits until a ping on that
        connection is answered."""
        target = self.use(Embedded({1: Lun(LUN_SIZE)}, control=True))
        proxy = self.use(TcpProxy(target))
        timeouts = {**LADDER_TIMEOUTS, "abort": "10s", "lu_reset": "10s", "nop_interval": "30s", "nop_timeout": "10s"}
        server = self.use(serve(proxy, target_options={"timeouts": timeouts}))
        with self.under_load(server) as load:
            server.child.wait_until(lambda: len(proxy.ids()) == 4, "connected four times")
            ids = proxy.ids()
            hung = target.faults.post("hang_task", opcode="write", cid=0, count=1)
            target.faults.post("refuse_tmf", function=ABORT_TASK, count=1)
            server.child.wait_until(lambda: target.faults.hits(hung) == 1, "hung up")
            proxy.stall(ids[-1], UP)
            server.child.wait_until(lambda: "abort_task refused" in recovery_log.climbed(server.child.log()),
                                    "at the reset")
            proxy.resume()
            self.flows(server, load, 5, "after the reset")
            self.assertEqual(proxy.ids(), ids, "no connection is lost for it")
        server.stop()
        self.assertIn("lu_reset success", recovery_log.climbed(server.child.log()))


@gateway_only
class PowerLoss(EmbeddedCase):
    """FLUSH is honest about what a power loss took."""

    def test_unflushed_write_is_told_once(self):
        power_loss.unflushed_write_is_told_once(self.server.uri(), self.faults, drop=True)
        self.server.stop()

    def test_unflushed_write_is_told_once_though_the_session_stays(self):
        power_loss.unflushed_write_is_told_once(self.server.uri(), self.faults, drop=False)
        self.server.stop()

    def test_nothing_unflushed_nothing_told(self):
        power_loss.nothing_unflushed_nothing_told(self.server.uri(), self.faults, drop=True)
        power_loss.nothing_unflushed_nothing_told(self.server.uri(), self.faults, drop=False)
        self.server.stop()

    def test_write_after_the_loss_does_not_hide_it(self):
        power_loss.write_after_the_loss_does_not_hide_it(self.server.uri(), self.faults)
        self.server.stop()


del EmbeddedCase, RecoveryCase  # no tests by themselves
