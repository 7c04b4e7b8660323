"""The gateway is restarted as systemd does it, under the kernel's own client. Nothing in the guest notices, with any
nbd-client: its connections stay as they are."""
import time

from kernel_case import DEVICE, MIB, KernelCase, begin_load, end_load, longest_s
from lib.service import Service
from lib.targets import Lun, Tgt

SIZE = 64 * MIB
STALL_LIMIT_S = 3  # what a restart may cost; the emulated guest is slow by itself


class Restart(KernelCase):
    @classmethod
    def make_server(cls):
        target = cls.enterClassContext(Tgt({1: Lun(SIZE)}))
        return Service({"array": target}, {"vol0": ("array", 1)}, admin="http")

    def test_01_under_fio(self):
        for connections in (1, 4):
            with self.subTest(connections=connections):
                self.attach(connections=connections)
                load = begin_load(self.guest, size="16m", bsrange="4k-128k", serialize_overlap=1)
                away = []
                for _ in range(5):
                    self.flowing()
                    time.sleep(1)
                    away.append(self.server.restart())
                self.flowing()
                result = self.checked(end_load(self.guest, load))
                longest = longest_s(result)
                print(f"     restarts took up to {max(away) * 1000:.0f} ms, the longest request {longest:.2f} s", flush=True)
                self.assert_within(longest, STALL_LIMIT_S, "the longest request")
                self.assertEqual(len(self.clients()), connections)
                self.detach()
                self.gone()

    def test_02_under_a_filesystem(self):
        self.attach()
        self.guest.check(f"mkfs.ext4 -q {DEVICE} && mount -t ext4 {DEVICE} /mnt")
        writing = self.guest.begin("for i in $(seq 1 40); do dd if=/dev/urandom of=/mnt/$i bs=256k count=1 conv=fsync "
                                   "2>/dev/null || exit 1; done; cd /mnt; sha256sum [0-9]* > /tmp/sums")
        for _ in range(5):
            self.flowing(requests=10)
            self.server.restart()
        writing.finish()
        self.guest.check("echo 3 > /proc/sys/vm/drop_caches; cd /mnt && sha256sum -c /tmp/sums > /dev/null; cd /; umount /mnt")
        self.guest.check(f"e2fsck -f -n {DEVICE}")
        self.assertEqual(self.guest.run("dmesg | grep -c 'I/O error'")[1].strip(), "0")
