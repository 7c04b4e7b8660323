"""deploy/attach/nbdgw-attach with a real kernel: the disk of a pod while all is well, and when the gateway is killed."""
import signal

from kernel_case import HOST, MIB, KernelCase
from lib import servers
from lib.gateway import Gateway
from lib.targets import Lun, Tgt

SCRIPT = servers.ROOT / "deploy/attach/nbdgw-attach"
READY = "/run/attached"
# An application in a folder of the disk. A line is "kept" once fsync has confirmed it.
APPLICATION = """
cd /data
number=0
while number=$((number + 1)) && echo "line $number" | dd of=lines oflag=append conv=notrunc,fsync 2>/dev/null; do
  echo "line $number" >> /run/kept
done
echo "the application saw an error"
"""


class Sidecar(KernelCase):
    @classmethod
    def make_server(cls):
        target = cls.enterClassContext(Tgt({1: Lun(64 * MIB)}))
        return Gateway({"array": target}, {"vol0": ("array", 1)}, admin="http")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.put("/usr/bin/nbdgw-attach", SCRIPT.read_text(), 0o755)

    def begin_attach(self):
        """Starts the script; the disk is mounted on /data then."""
        attach = self.guest.begin(
            f"NBDGW_HOST={HOST} NBDGW_PORT={self.server.port} NBDGW_EXPORT=vol0 NBDGW_MOUNT=/data NBDGW_MKFS=if-empty "
            f"NBDGW_READY_FILE={READY} sh -c 'echo $$ > /run/attach.pid; exec nbdgw-attach'", 240)
        self.guest.wait_until(f"[ -e {READY} ]", "attached and mounted")
        self.guest.check("grep -q '^/dev/nbd0 /data ext4 ' /proc/mounts")
        return attach

    def stop(self, attach):
        """As the kubelet does."""
        self.guest.check("kill -TERM $(cat /run/attach.pid)")
        self.assertIn("stopped", attach.finish())
        self.assertEqual(self.queue("size"), "0")
        self.gone()

    def test_01_attached_stopped_attached_again(self):
        attach = self.begin_attach()
        self.guest.check("dd if=/dev/urandom of=/data/file bs=1M count=8 2>/dev/null && sha256sum /data/file > /tmp/sums")
        self.stop(attach)
        attach = self.begin_attach()
        self.guest.check("sha256sum -c /tmp/sums")
        self.stop(attach)

    def test_02_the_gateway_is_killed_under_load(self):
        """The application sees an error at once; what was confirmed to it before is there after the next start."""
        attach = self.begin_attach()
        application = self.guest.begin(APPLICATION)
        self.guest.wait_until("[ $(wc -l < /run/kept) -ge 100 ]", "at work")
        self.server.child.send(signal.SIGKILL)
        self.server.child.wait(10)
        self.assertIn("the application saw an error", application.finish())
        status, said = attach.wait()
        self.assertEqual(status, 1, said)
        self.assertIn("nbd-client has ended: /dev/nbd0 is lost", said)
        self.guest.check(f"! grep -q ' /data ' /proc/mounts && [ ! -e {READY} ]")
        self.server.start()
        attach = self.begin_attach()
        self.guest.check("head -n $(wc -l < /run/kept) /data/lines | cmp - /run/kept")
        self.stop(attach)
