"""The kernel's own iSCSI target (LIO), in a guest: what a Gateway of the tests takes as a target."""
import shlex

from guest import Guest
from lib.targets import Lun

MIB = 1 << 20
SIZE = 64 * MIB
_PORT = 3260


class Lio:
    """LUN 1 is fileio with a volatile cache; LUN 2 is iblock, on a device that hold() suspends. rootfs/usr/bin/lio says
    more."""
    iqn = "iqn.2026-11.io.nbdgw:lio"

    def __init__(self, chap=None, parameters=None):
        self.chap = chap
        self.parameters = parameters or {}
        self.guest = Guest("lio", forward=[_PORT])
        self.luns = {1: Lun(SIZE), 2: Lun(SIZE)}

    @property
    def portal(self):
        return f"127.0.0.1:{self.guest.port(_PORT)}"

    def start(self):
        self.guest.start()
        settings = {"PARAMETERS": " ".join(f"{name}={value}" for name, value in self.parameters.items())}
        if self.chap:
            settings["CHAP"] = f"{self.chap.user} {self.chap.secret}"
            if self.chap.mutual_user:
                settings["CHAP_MUTUAL"] = f"{self.chap.mutual_user} {self.chap.mutual_secret}"
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        self.guest.check(f"{words} lio {self.iqn} {SIZE // MIB}")
        return self

    def group(self, path):
        """A file of the portal group in configfs."""
        return self.guest.check(f"cat /sys/kernel/config/target/iscsi/{self.iqn}/tpgt_1/{path}")

    def commands(self, lun):
        """How many SCSI commands the LUN has had, by LIO's own count."""
        return int(self.group(f"lun/lun_{lun}/statistics/scsi_tgt_port/in_cmds"))

    def hold(self):
        """From now on what LUN 2 is asked for hangs, in the block layer below the target."""
        self.guest.check("dmsetup suspend --nolockfs --noflush lun2")

    def release(self):
        """And what hung goes on."""
        self.guest.check("dmsetup resume lun2")

    def kernel_log(self):
        return self.guest.check("dmesg")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.guest.stop()
