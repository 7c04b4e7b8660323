"""Who hears of writes that were lost: each client that was there, once, whoever asks first, whatever comes between."""
import errno
import signal

from base import InteropCase, gateway_only
from lib import gateway, unaligned
from lib.power_loss import flush
from lib.service import Service
from lib.targets import Embedded, Lun
from recovery import LADDER_TIMEOUTS, LUN_SIZE

SIZE = 4096
MEDIUM_ERROR = {"key": 3, "asc": 0x0c, "ascq": 0}
SYNCHRONIZE_CACHE = 0x91
WRITE = 0x8a


class LossCase(InteropCase):
    """Export vol0, and vol1, another LUN of the same target, so that the session stays without vol0."""

    def begin(self, make=gateway.Gateway, **more):
        self.target = self.use(Embedded({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)}, control=True))
        self.faults = self.target.faults
        self.server = self.use(make({"array": self.target}, {"vol0": ("array", 1), "vol1": ("array", 2)},
                                    target_options={"timeouts": LADDER_TIMEOUTS}, **more))

    def client(self):
        return unaligned.connect(self.server.uri())

    def lose(self, handle):
        """A write of this client is lost, and the gateway has heard of it."""
        handle.pwrite(b"u" * SIZE, 0)
        self.faults.post("power_loss", drop=False)
        handle.pread(SIZE, 0)

    def hears(self, handle, *errors):
        self.assertEqual([flush(handle) for _ in range(len(errors) + 1)], [*errors, 0])


@gateway_only
class FailedFlush(LossCase):
    """The target says of a SYNCHRONIZE CACHE that it could not do it: what it covered may be gone."""

    def test_a_medium_error(self):
        self.begin()
        first, second = self.client(), self.client()
        second.pwrite(b"b" * SIZE, 0)
        self.faults.post("check_condition", opcode=SYNCHRONIZE_CACHE, count=1, **MEDIUM_ERROR)
        self.hears(first, errno.EIO)
        self.hears(self.client())
        self.hears(second, errno.EIO)
        self.server.stop()

    def test_a_write_with_fua_takes_the_blame(self):
        self.begin()
        first, second = self.client(), self.client()
        first.pwrite(b"a" * SIZE, 0)
        # It refuses the FUA bit, so that a SYNCHRONIZE CACHE comes in its place.
        self.faults.post("check_condition", opcode=WRITE, count=1, key=5, asc=0x24, ascq=0)
        self.faults.post("check_condition", opcode=SYNCHRONIZE_CACHE, count=1, **MEDIUM_ERROR)
        with self.assertRaises(unaligned.nbd.Error):
            first.pwrite(b"f" * SIZE, SIZE, unaligned.nbd.CMD_FLAG_FUA)
        self.hears(first, errno.EIO)
        self.hears(second, errno.EIO)
        self.server.stop()

    def test_one_that_was_not_tried_loses_nothing(self):
        self.begin()
        first, second = self.client(), self.client()
        first.pwrite(b"a" * SIZE, 0)
        fault = self.faults.post("check_condition", opcode=SYNCHRONIZE_CACHE, key=2, asc=0x3a, ascq=0)
        self.assertEqual(flush(first), errno.EIO)
        self.faults.delete(fault)
        self.hears(second)
        self.hears(first)
        self.server.stop()


@gateway_only
class Gone(LossCase):
    def test_what_a_client_has_not_heard_is_told_to_the_next(self):
        self.begin()
        first, second = self.client(), self.client()
        self.lose(first)
        first.shutdown()
        self.server.child.wait_log("detached from export vol0")
        later = self.client()
        self.hears(second, errno.EIO)
        self.hears(later, errno.EIO)
        self.hears(self.client())
        self.server.stop()

    def test_nobody_was_there(self):
        self.begin()
        first = self.client()
        first.pwrite(b"a" * SIZE, 0)
        first.shutdown()
        self.server.child.wait_log("detached from export vol0")
        self.faults.post("power_loss", drop=True)
        self.hears(self.client(), errno.EIO)
        self.hears(self.client())
        self.server.stop()


@gateway_only
class Reloaded(LossCase):
    """The export is taken out of the configuration, and comes back with a later one."""

    def reload(self):
        self.server.write_config()
        before = len(self.server.child.log())
        self.server.child.send(signal.SIGHUP)
        self.server.child.wait_until(lambda: "reload: done" in self.server.child.log()[before:], "reloaded")

    def without_it(self, meanwhile=lambda: None):
        place = self.server.exports.pop("vol0")
        self.reload()
        meanwhile()
        self.server.exports["vol1"] = ("array", 2)
        self.reload()  # once more, and nothing of it is forgotten
        self.server.exports["vol0"] = place
        self.reload()

    def test_what_was_lost_before(self):
        self.begin()
        self.lose(self.client())
        self.without_it()
        self.hears(self.client(), errno.EIO)
        self.hears(self.client())
        self.server.stop()

    def test_what_is_lost_meanwhile(self):
        self.begin()
        self.client().pwrite(b"a" * SIZE, 0)
        self.without_it(lambda: self.faults.post("power_loss", drop=False))
        self.hears(self.client(), errno.EIO)
        self.server.stop()

    def test_what_was_flushed(self):
        self.begin()
        handle = self.client()
        handle.pwrite(b"a" * SIZE, 0)
        self.hears(handle)
        self.without_it(lambda: self.faults.post("power_loss", drop=False))
        self.hears(self.client())
        self.server.stop()


@gateway_only
class Restarted(LossCase):
    """Under a service manager, which keeps the clients."""

    def test_each_goes_on_as_it_was(self):
        self.begin(Service)
        first, second = self.client(), self.client()
        self.lose(first)
        self.hears(first, errno.EIO)
        later = self.client()
        self.server.restart()
        self.hears(first)
        self.hears(later)
        self.server.restart()
        self.hears(second, errno.EIO)
        self.server.stop()

    def test_a_loss_meanwhile_is_told_to_each(self):
        self.begin(Service)
        first, second = self.client(), self.client()
        first.pwrite(b"a" * SIZE, 0)
        self.server.end()
        self.faults.post("power_loss", drop=False)
        self.server.launch()
        self.hears(second, errno.EIO)
        self.hears(first, errno.EIO)
        self.hears(self.client())
        self.server.stop()

    def test_one_that_goes_meanwhile(self):
        self.begin(Service)
        first, second = self.client(), self.client()
        self.lose(first)
        self.hears(second, errno.EIO)
        self.server.end()
        self.server.manager.stored = [(name, fd) for name, fd in self.server.manager.stored if name == "nbdgw-state"]
        self.server.launch()
        self.hears(self.client(), errno.EIO)
        self.hears(self.client())
        self.server.stop()

    def test_without_the_export_for_a_time(self):
        self.begin(Service)
        self.lose(self.client())
        place = self.server.exports.pop("vol0")
        for exports in ({}, {}, {"vol0": place}):
            self.server.end()
            self.server.exports.update(exports)
            self.server.write_config()
            self.server.launch()
        self.hears(self.client(), errno.EIO)
        self.hears(self.client())
        self.server.stop()


del LossCase  # no tests by themselves
