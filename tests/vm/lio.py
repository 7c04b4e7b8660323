"""The kernel's own iSCSI target (LIO), in a guest: what a Gateway of the tests takes as a target."""
from guest import Guest
from lib.targets import Lun

MIB = 1 << 20
SIZE = 64 * MIB
_PORT, _SECOND_PORT = 3260, 3261


class Lio:
    """LUN 1 is fileio with a volatile cache; LUN 2 is iblock, on a device that hold() suspends. rootfs/usr/bin/lio says
    more."""
    iqn = "iqn.2026-11.io.nbdgw:lio"

    def __init__(self):
        self.chap = None
        self.guest = Guest("lio", forward=[_PORT, _SECOND_PORT])
        self.luns = {1: Lun(SIZE), 2: Lun(SIZE)}

    @property
    def portal(self):
        return f"127.0.0.1:{self.port}"

    @property
    def port(self):
        return self.guest.port(_PORT)

    @property
    def second_portal(self):
        """Of the other portal group."""
        return f"127.0.0.1:{self.guest.port(_SECOND_PORT)}"

    def start(self):
        self.guest.start()
        self.guest.check(f"lio {self.iqn} {SIZE // MIB}")
        return self

    def group(self, path):
        """What it holds."""
        return self.guest.check(f"cat {self.group_path(path)}").strip()

    def set_group(self, **values):
        """Sets such files, PATH=VALUE with __ for /; sessions that are there keep what they were told. LIO takes a line's
        end for a part of a secret."""
        self.guest.check(" && ".join(f"printf %s '{value}' > {self.group_path(path.replace('__', '/'))}"
                                     for path, value in values.items()))

    def require_chap(self, chap):
        """From the next login on; None: of nobody any more."""
        self.chap = chap
        if chap is None:
            return self.set_group(attrib__authentication=0, auth__userid_mutual="NULL", auth__password_mutual="NULL")
        mutual = {"auth__userid_mutual": chap.mutual_user, "auth__password_mutual": chap.mutual_secret}
        return self.set_group(attrib__authentication=1, auth__userid=chap.user, auth__password=chap.secret,
                              **(mutual if chap.mutual_user else {}))

    def commands(self, lun):
        """How many SCSI commands the LUN has had, by LIO's own count."""
        return int(self.group(f"lun/lun_{lun}/statistics/scsi_tgt_port/in_cmds"))

    def allocated(self, lun):
        """How many bytes the LUN takes up in memory."""
        return 512 * int(self.guest.check(f"stat -c %b /tmp/lun{lun}"))

    def hold(self):
        """From now on what LUN 2 is asked for hangs, in the block layer below the target."""
        self.guest.check("dmsetup suspend --nolockfs --noflush lun2")

    def release(self):
        """And what hung goes on."""
        self.guest.check("dmsetup resume lun2")

    def group_path(self, path):
        """Where a file of the portal group is in the guest's configfs."""
        return f"/sys/kernel/config/target/iscsi/{self.iqn}/tpgt_1/{path}"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.guest.stop()
