"""A fresh Debian 12 with systemd: what the README says, line by line; restarts, an upgrade and a crash under load."""
import re
import time

import debian
from guest import Guest
from kernel_case import DEVICE, begin_load, end_load, longest_s
from lib import case, servers

README = (servers.ROOT / "README.md").read_text()
LUN_MIB = 192
STALL_LIMIT_S = 3  # the guest is emulated, and its disk, too
CRASH_LIMIT_S = 12  # what was under way is sent again after 5 s (NBDGW_RESEND), as soon as there is a connection again
READY_LIMIT_S = 2
ARRAY = f"""[Service]
ExecStart=/usr/bin/nbdgw target --listen 127.0.0.1:3260 --iqn iqn.2026-11.test:array --lun memory:size={LUN_MIB}MiB
"""
CONFIG = """listen: {nbd: ["systemd:nbd"], admin: ["systemd:admin"]}
initiator: {name: "iqn.2026-11.test:fresh"}
targets:
  - {name: array, iqn: "iqn.2026-11.test:array", portals: ["127.0.0.1:3260"]}
exports:
  - {name: vol0, target: array, lun: 1}
"""


def lines_of(section, beginning):
    """The lines of the section's first block whose text begins so."""
    text = README[README.index(f"\n## {section}\n"):]
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    block = next(each for each in blocks if each.startswith(beginning))
    return block.splitlines()


class FreshMachine(case.Case):
    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest("debian", memory_mib=2560, system=debian.build()))
        print(f"     the guest was there after {cls.guest.boot_s:.1f} s", flush=True)

    def property(self, name, unit="nbdgw"):
        return self.guest.check(f"systemctl show --value -p {name} {unit}").strip()

    def active(self, *units):
        return self.guest.run(f"systemctl is-active {' '.join(units)}")[1].split()

    def size(self):
        return int(self.guest.check("cat /sys/block/nbd0/size"))

    def test_01_as_a_service(self):
        self.guest.put("/etc/systemd/system/array.service", ARRAY)
        self.guest.check("systemctl daemon-reload && systemctl start array")
        self.guest.put("/etc/nbdgw/nbdgw.yaml", CONFIG, 0o640)
        self.guest.check("chown root:nbdgw /etc/nbdgw/nbdgw.yaml && nbdgw check -c /etc/nbdgw/nbdgw.yaml")
        for line in lines_of("As a service", "sudo systemctl enable"):
            self.guest.check(line)
        self.assertEqual(self.active("nbdgw", "nbdgw.socket", "nbdgw-admin.socket", "nbdgw-attach@nbd0"), ["active"] * 4)
        self.assertEqual(self.size(), LUN_MIB * 2048)
        ready = int(self.property("ActiveEnterTimestampMonotonic")) - int(self.property("ExecMainStartTimestampMonotonic"))
        print(f"     ready {ready / 1000:.0f} ms after its start", flush=True)
        self.assert_within(ready / 1e6, READY_LIMIT_S, "ready")
        self.assertIn("vol0", self.guest.check("nbdgw ctl exports"))

    def restarted_under_load(self, *commands):
        """Each is carried out under a fio that reads back what it wrote, and is told nothing; the longest request in s."""
        load = begin_load(self.guest, size="16m", bsrange="4k-64k", serialize_overlap=1)
        for command in commands:
            time.sleep(4)
            before = self.property("MainPID")
            self.guest.check(command)
            self.assertNotEqual(self.property("MainPID"), before)
        time.sleep(4)
        result = end_load(self.guest, load)
        job = result["jobs"][0]
        self.assertEqual(job["error"], 0)
        self.assertGreater(job["read"]["total_ios"], 0)
        self.assertEqual(self.active("nbdgw-attach@nbd0"), ["active"])
        self.assertEqual(self.property("NRestarts", "nbdgw-attach@nbd0"), "0")
        return longest_s(result)

    def test_02_restarts(self):
        longest = self.restarted_under_load(*["systemctl restart nbdgw"] * 4)
        print(f"     the longest request took {longest:.2f} s", flush=True)
        self.assert_within(longest, STALL_LIMIT_S, "the longest request")

    def test_03_an_upgrade(self):
        """The package is unpacked over itself; then the line of the README."""
        [line] = re.findall(r"`(nbdgw check [^`]* systemctl restart nbdgw)`", README)
        longest = self.restarted_under_load(f"dpkg -i /root/nbdgw.deb && {line}")
        self.assert_within(longest, STALL_LIMIT_S, "the longest request")

    def test_04_a_crash(self):
        """systemd starts the gateway again, and whoever uses the disk has waited."""
        before = self.property("MainPID")
        longest = self.restarted_under_load(
            "systemctl kill --kill-whom=main -s KILL nbdgw; "
            f"until systemctl is-active -q nbdgw && [ $(systemctl show --value -p MainPID nbdgw) != {before} ]; do sleep 0.1; done")
        print(f"     the longest request took {longest:.2f} s", flush=True)
        self.assert_within(longest, CRASH_LIMIT_S, "the longest request")
        self.assertEqual(self.size(), LUN_MIB * 2048)

    def test_05_attach(self):
        """What the README shows first, over TCP."""
        self.guest.check(f"wipefs -a {DEVICE} && systemctl disable --now nbdgw-attach@nbd0")
        self.assertEqual(self.size(), 0)
        for line in lines_of("Attach", "sudo modprobe nbd"):
            self.guest.check(line)
            if "mount /dev/nbd0 /mnt" in line:
                self.guest.check("mountpoint -q /mnt && echo hello > /mnt/file && sync")
        self.assertEqual(self.size(), 0)

    def test_06_removal(self):
        self.guest.check("dpkg --remove nbdgw")
        self.assertEqual(self.guest.check("systemctl --failed --no-legend"), "")
        self.guest.check("! test -e /usr/bin/nbdgw && ! test -e /run/nbdgw/nbd.sock && ! test -e /run/nbdgw/admin.sock")
