"""`nbdgw attach`: the kernel's device over netlink, which outlives its gateway. The gateway is killed, and so is who keeps the
device; nobody who writes to the disk sees more than a pause."""
import time

from guest import HOST
from kernel_case import DEVICE, MIB, KernelCase, begin_load, end_load, longest_s
from lib.gateway import Gateway
from lib.targets import Embedded, Lun

SIZE = 64 * MIB
RESEND_S = 1
PAUSE_LIMIT_S = 6  # a gateway that comes back at once; the emulated guest is slow by itself


class Attach(KernelCase):
    @classmethod
    def make_server(cls):
        cls.target = cls.enterClassContext(Embedded({1: Lun(SIZE)}, control=True))
        return Gateway({"array": cls.target}, {"vol0": ("array", 1)}, admin="http")

    def tearDown(self):
        """The next test finds no device attached, whatever this one came to."""
        self.guest.run(f"umount /mnt; nbdgw attach --detach {DEVICE} --force; killall -9 nbdgw; nbd-client -d {DEVICE}")

    def keep(self, *more):
        """Attaches, and returns when there is a device."""
        words = " ".join(more)
        self.guest.check(f"rm -f /run/ready; nbdgw attach vol0 --address tcp://{HOST}:{self.server.port} --device {DEVICE} "
                         f"--resend {RESEND_S}s --ready-file /run/ready {words} >> /run/attach.log 2>&1 & "
                         "echo $! > /run/attach.pid")
        self.guest.wait_until("[ -e /run/ready ]", "attached")

    def log(self):
        return self.guest.run("cat /run/attach.log")[1]

    def crash(self):
        """The gateway is gone without a word, and comes back."""
        self.server.child.kill()
        self.server.start()

    def test_01_crashes_under_fio(self):
        self.keep()
        load = begin_load(self.guest, size="16m", bsrange="4k-128k", serialize_overlap=1)
        for _ in range(5):
            self.flowing()
            time.sleep(0.5)
            self.crash()
        self.flowing()
        result = self.checked(end_load(self.guest, load))
        longest = longest_s(result)
        print(f"     the longest request took {longest:.2f} s", flush=True)
        self.assert_within(longest, PAUSE_LIMIT_S, "the longest request")
        self.guest.check(f"nbdgw attach --detach {DEVICE}")
        self.assertEqual(self.queue("size"), "0")
        self.gone()
