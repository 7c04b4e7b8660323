"""What every interoperability test stands on: servers chosen by the environment, logs shown on failure."""
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import case, gateway, servers  # noqa: E402

MIB = 1 << 20
SERVER = os.environ.get("NBDGW_SERVER", "nbdgw")
SEED = case.SEED
InteropCase = case.Case


def serve(target, lun=1, **options):
    """The server under test in front of one LUN, as export vol0. NBDGW_SERVER=qemu-nbd puts qemu-nbd in the gateway's
    place, to find out whether a failure is the gateway's or the test's."""
    if SERVER == "qemu-nbd":
        return servers.QemuNbd(target, lun)
    return gateway.Gateway({"array": target}, {"vol0": ("array", lun)}, **options)


def gateway_only(thing):
    """Marks a test or class of something that only the gateway does."""
    return unittest.skipIf(SERVER != "nbdgw" and not os.environ.get("NBDGW_SKIP_NOTHING"), "only the gateway does this")(thing)


class SharedServer(InteropCase):
    """A class of tests on one target and one server, started once. Subclasses say which, by make_target()."""
    lun = 1
    server_options = {}

    @classmethod
    def make_target(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.target = cls.enterClassContext(cls.make_target())
        cls.server = cls.enterClassContext(serve(cls.target, cls.lun, **cls.server_options))
        cls.uri = cls.server.uri()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()  # SIGTERM must end it with status 0 (a sanitizer's report, too, is found here)

    @property
    def size(self):
        return self.target.luns[self.lun].size
