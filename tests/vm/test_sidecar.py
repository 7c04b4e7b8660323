"""deploy/attach/nbdgw-attach with a real kernel: the disk of a pod while all is well, and when the gateway is killed."""
import signal

from kernel_case import HOST, MIB, KernelCase
from lib import servers, workdir
from lib.gateway import Gateway
from lib.targets import Embedded, Lun, Tgt

SCRIPT = servers.ROOT / "deploy/attach/nbdgw-attach"
READY = "/run/attached"
# An application in a folder of the disk. A line is "kept" once fsync has confirmed it.
APPLICATION = """
cd /data
number=0
while [ ! -e /run/enough ]; do
  number=$((number + 1))
  echo "line $number" | dd of=lines oflag=append conv=notrunc,fsync 2>/dev/null || { echo "the application saw an error"; exit; }
  echo "line $number" >> /run/kept
done
"""


class SidecarCase(KernelCase):
    client = None  # NBDGW_WITH

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.put("/usr/bin/nbdgw-attach", SCRIPT.read_text(), 0o755)

    def begin_attach(self):
        """Starts the script; the disk is mounted on /data then."""
        attach = self.guest.begin(
            f"NBDGW_HOST={HOST} NBDGW_PORT={self.server.port} NBDGW_EXPORT=vol0 NBDGW_MOUNT=/data NBDGW_MKFS=if-empty "
            f"NBDGW_WITH={self.client} NBDGW_RESEND=1s "
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

    def attached_stopped_attached_again(self):
        attach = self.begin_attach()
        self.guest.check("dd if=/dev/urandom of=/data/file bs=1M count=8 2>/dev/null && sha256sum /data/file > /tmp/sums")
        self.stop(attach)
        attach = self.begin_attach()
        self.guest.check("sha256sum -c /tmp/sums")
        self.stop(attach)

    def begin_application(self):
        self.guest.check("rm -f /run/kept /run/enough")
        application = self.guest.begin(APPLICATION)
        self.guest.wait_until("[ -e /run/kept ] && [ $(wc -l < /run/kept) -ge 100 ]", "at work")
        return application

    def end_application(self, application):
        """It has seen no error."""
        self.guest.check("touch /run/enough")
        self.assertEqual(application.finish(), "")


class Sidecar(SidecarCase):
    """With nbd-client, whose disk lives as long as its connection."""
    client = "nbd-client"

    @classmethod
    def make_server(cls):
        target = cls.enterClassContext(Tgt({1: Lun(64 * MIB)}))
        return Gateway({"array": target}, {"vol0": ("array", 1)}, admin="http")

    def test_01_attached_stopped_attached_again(self):
        self.attached_stopped_attached_again()

    def test_02_the_gateway_is_killed_under_load(self):
        """The application sees an error at once; what was confirmed to it before is there after the next start."""
        attach = self.begin_attach()
        application = self.begin_application()
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


class Kept(SidecarCase):
    """With nbdgw attach: nobody notices."""
    client = "nbdgw"

    @classmethod
    def make_server(cls):
        target = cls.enterClassContext(Embedded({1: Lun(64 * MIB)}))
        return Gateway({"array": target}, {"vol0": ("array", 1)}, admin="http", extra={"state_dir": str(workdir.fresh("state"))})

    def test_01_attached_stopped_attached_again(self):
        self.attached_stopped_attached_again()

    def test_02_the_gateway_is_killed_under_load(self):
        attach = self.begin_attach()
        application = self.begin_application()
        for _ in range(3):
            kept = int(self.guest.check("wc -l < /run/kept"))
            self.server.child.send(signal.SIGKILL)
            self.server.child.wait(10)
            self.server.start()
            self.guest.wait_until(f"[ $(wc -l < /run/kept) -ge {kept + 100} ]", "going on")
            self.assertFalse(application.done())
        self.end_application(application)
        self.stop(attach)

    def test_03_the_script_is_killed_and_started_again(self):
        """The disk stays mounted meanwhile, and the application goes on."""
        attach = self.begin_attach()
        application = self.begin_application()
        self.guest.check("kill -KILL $(cat /run/attach.pid); killall -9 nbdgw")
        attach.wait()
        self.guest.check(f"rm -f {READY}")
        attach = self.begin_attach()
        kept = int(self.guest.check("wc -l < /run/kept"))
        self.guest.wait_until(f"[ $(wc -l < /run/kept) -ge {kept + 100} ]", "going on")
        self.end_application(application)
        self.stop(attach)
