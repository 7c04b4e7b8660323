"""What the tests of recovery share: short timeouts, the loads that judge, and how a run is looked at."""
import contextlib
import os
import time

import base
from lib import clients, model_load

MIB = base.MIB
# How long connections are cut under load; CONTRIBUTING.md and tests/README.md name the variable.
SECONDS = int(os.environ.get("NBDGW_RECOVERY_S", "60"))
# fio has the disk from here on; the blocks before are the model's.
FIO_OFFSET = 16 * MIB
FIO_JOBS = 4
LUN_SIZE = 64 * MIB

# Timers of connections short, so that a test sees many of their ends; those of commands never, for what is cut or
# stalled here must be found by the connection's own timers.
CONNECTION_TIMEOUTS = {"nop_interval": "1s", "nop_timeout": "1s", "login": "2s", "logout": "1s"}
NOP_S = 2  # both together: how long a dead connection may stay unnoticed
# How long the loads run before something is done to them, and how long they judge what it came to.
BEFORE_S = 1
AFTER_S = 1.5

# Every rung short: a whole climb takes a few seconds.
LADDER_TIMEOUTS = {"command": "1500ms", "abort": "1s", "lu_reset": "1s", "target_reset": "1s", "nop_interval": "1s",
                   "nop_timeout": "1s", "login": "2s", "logout": "1s", "replacement": "60s"}


def fio(uri, **options):
    """fio over four NBD connections: writes, reads back and compares, until it is interrupted; any error reply ends
    it."""
    settings = {"rw": "randwrite", "bs": "16k", "iodepth": 8, "offset": FIO_OFFSET, "size": "8m",
                "offset_increment": "8m", "verify": "crc32c", "verify_fatal": 1, "verify_backlog": 64,
                "time_based": True, "runtime": 600, "rate_iops": 200, **options}
    return clients.Fio(uri, jobs=FIO_JOBS, **settings)


class RecoveryCase(base.InteropCase):
    """A load of both kinds runs; something is done to it; nothing wrong may be seen, and I/O must flow again."""

    @contextlib.contextmanager
    def under_load(self, server, rate=400, **fio_options):
        """Both loads run as long as the block does."""
        checker = fio(server.uri(), **fio_options).start()
        self.addCleanup(checker.kill)
        with model_load.Load(server.uri(), base.SEED, rate=rate) as load:
            time.sleep(BEFORE_S)
            yield load
            time.sleep(AFTER_S)
            self.assertIsNone(checker.process.poll(), "fio ended by itself: it saw an error")
            checker.interrupt()
            result = load.stop()
        self.clean(result)
        outcome = checker.finish()
        self.assertGreater(outcome["read"]["total_ios"], 0, "fio read nothing back")

    def clean(self, result):
        self.assertEqual(result.mistakes[:5], [], f"{len(result.mistakes)} in all")
        self.assertEqual(dict(result.errors), {}, "NBD error replies")
        self.assertGreater(result.done, 0)

    def flows(self, server, load, within_s, what):
        """Waits until all that was asked before now is answered, and something that is asked after now."""
        start = time.monotonic()
        server.child.wait_until(lambda: load.flows_since(start), f"answering again {what}", within_s + 20)
        took = time.monotonic() - start
        self.assert_within(took, within_s, f"I/O flows again {what}")

    def given_up(self, server, proxy, ids, within_s):
        """Waits until the gateway has given these connections up: the session as a whole is a new one."""
        server.child.wait_until(lambda: not set(ids) & set(proxy.ids()), "rid of its old connections", within_s)
