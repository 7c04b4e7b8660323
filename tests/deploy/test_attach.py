"""deploy/attach/nbdgw-attach on a machine of fakes: each way through it, with dash and with busybox ash."""
import os
import shutil
import signal
import unittest

from attach_fakes import NO_APPLETS, Box

MIB_OF_ZEROS = bytes(1 << 20)


class Attach:
    """The tests; the classes below say with which shell."""

    SHELL = []

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root: mknod")
        if shutil.which(self.SHELL[0]) is None:
            if os.environ.get("CI") == "true":
                self.fail(f"{self.SHELL[0]} is missing")
            self.skipTest(f"{self.SHELL[0]} is missing")
        self.box = Box(self.SHELL)
        self.addCleanup(self.box.close)
        self.ready = {"NBDGW_READY_FILE": str(self.box.folder / "ready")}
        self.mount = {"NBDGW_MOUNT": str(self.box.folder / "mnt")}

    def one_line(self, ended, status, *words):
        """It ended with this status, and said all in one line."""
        code, lines = ended
        said = [line for line in lines if "waiting for the gateway" not in line]
        self.assertEqual((code, len(said)), (status, 1), lines)
        self.assertTrue(said[0].startswith("nbdgw-attach: "), said)
        for word in words:
            self.assertIn(word, said[0])
        self.assertFalse((self.box.folder / "ready").exists())

    # what it does

    def test_attaches_over_the_socket_and_detaches_when_told(self):
        self.box.start(NBDGW_SOCKET="/run/x/nbd.sock", **self.ready)
        self.assertEqual(self.box.wait_ready(), "/dev/nbd0")
        call = self.box.called("nbd-client")[0].split()
        self.assertEqual(call[-3:], ["-unix", "/run/x/nbd.sock", "/dev/nbd0"])
        for word in ("-nonetlink", "-nofork", "-persist"):
            self.assertIn(word, call)
        self.assertEqual(call[call.index("-N") + 1], "vol0")
        self.assertNotIn("-timeout", call)
        code, lines = self.box.stop()
        self.assertEqual(code, 0, lines)
        self.assertEqual(self.box.called("nbd-client")[-1], "nbd-client -nonetlink -d /dev/nbd0")
        self.assertFalse((self.box.folder / "ready").exists())
        self.assertEqual(self.box.called("mount"), [])
        self.assertEqual(list(self.box.folder.glob("nbdgw-attach.*")), [])

    def test_attaches_over_tcp_with_all_options(self):
        self.box.start(NBDGW_HOST="192.0.2.1", NBDGW_PORT="10810", NBDGW_DEVICE="/dev/nbd1", NBDGW_CONNECTIONS="4",
                       NBDGW_TIMEOUT="900", NBDGW_BLOCK_SIZE="4096", **self.ready)
        self.assertEqual(self.box.wait_ready(), "/dev/nbd1")
        call = self.box.called("nbd-client")[0]
        self.assertIn(" -C 4 -b 4096 -timeout 900 192.0.2.1 10810 /dev/nbd1", call)
        self.assertEqual(self.box.stop()[0], 0)

    def test_takes_the_first_free_device(self):
        self.box.write("root/sys/block/nbd0/size", "2048\n")
        self.box.start(**self.ready)
        self.assertEqual(self.box.wait_ready(), "/dev/nbd1")

    def test_takes_another_device_if_somebody_was_faster(self):
        self.box.write("mode-nbd0", "taken")
        self.box.start(**self.ready)
        self.assertEqual(self.box.wait_ready(), "/dev/nbd1")

    def test_waits_for_the_gateway(self):
        self.box.write("mode", "absent")
        self.box.start(**self.ready)
        self.box.wait_until(lambda: len(self.box.called("nbd-client")) > 1, "trying again")
        self.box.write("present")
        self.box.wait_ready()

    def test_makes_a_filesystem_on_an_empty_disk_and_mounts_it(self):
        self.box.start(NBDGW_MKFS="if-empty", NBDGW_MOUNT_OPTIONS="noatime", NBDGW_OWNER="1000:2000", **self.mount,
                       **self.ready)
        self.box.wait_ready()
        self.assertEqual(self.box.called("mkfs.ext4"), ["mkfs.ext4 -q /dev/nbd0"])
        folder = self.mount["NBDGW_MOUNT"]
        self.assertEqual(self.box.called("mount"), [f"mount -t ext4 -o noatime /dev/nbd0 {folder}"])
        self.assertEqual(self.box.called("chown"), [f"chown 1000:2000 {folder}"])
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0)
        self.assertEqual(self.box.stop()[0], 0)
        order = [call.split()[0] for call in self.box.calls() if "-d" in call.split() or call.startswith("umount")]
        self.assertEqual(order, ["umount", "nbd-client"])
        self.assertEqual(self.box.mounts(), [["/dev/vda", "/"]])

    def test_leaves_the_filesystem_that_is_there(self):
        self.box.write("blkid", "DEVNAME=/dev/nbd0\nTYPE=xfs\nUSAGE=filesystem\n")
        self.box.start(NBDGW_MKFS="if-empty", NBDGW_FSTYPE="xfs", NBDGW_OWNER="1000:2000", **self.mount, **self.ready)
        self.box.wait_ready()
        self.assertEqual(self.box.called("mkfs.xfs") + self.box.called("chown"), [])
        self.assertEqual(len(self.box.called("mount")), 1)

    def test_without_mkfs_nothing_is_looked_at(self):
        self.box.start(**self.mount, **self.ready)
        self.box.wait_ready()
        self.assertEqual(self.box.called("blkid") + self.box.called("dd"), [])

    def test_clears_the_mount_of_a_run_that_was_killed(self):
        folder = self.mount["NBDGW_MOUNT"]
        self.box.write("root/proc/self/mounts", f"/dev/vda / ext4 rw 0 0\n/dev/nbd1 {folder} ext4 rw 0 0\n")
        self.box.write("root/sys/block/nbd1/pid", "4711\n")
        self.box.write("busy")
        self.box.start(**self.mount, **self.ready)
        self.box.wait_ready()
        self.assertEqual(self.box.called("umount"), [f"umount {folder}", f"umount -l {folder}"])
        self.assertEqual(self.box.mounts()[-1], ["/dev/nbd0", folder])

    def test_unmounts_lazily_what_stays_in_use_and_says_so(self):
        self.box.start(NBDGW_UMOUNT_WAIT="1", **self.mount, **self.ready)
        self.box.wait_ready()
        self.box.write("busy")
        code, lines = self.box.stop()
        self.assertEqual(code, 1, lines)
        self.assertIn("target is busy", lines[-1])
        self.assertIn("sync ", self.box.calls())
        self.assertEqual(self.box.called("umount")[-1], f"umount -l {self.mount['NBDGW_MOUNT']}")
        self.assertEqual(self.box.called("nbd-client")[-1], "nbd-client -nonetlink -d /dev/nbd0")

    def test_no_signal_is_lost(self):
        """Also one that comes in the moment in which it is ready, and goes to sleep: each way to do so is tried."""
        for way in ("wait", "sleep"):
            self.box.write("calls")
            self.box.functions = [f'{way}() {{ if [ -e "$BOX/ready" ] && [ ! -e "$BOX/told" ]; then : >"$BOX/told"; '
                                  f'kill -TERM $$; fi; command {way} "$@"; }}']
            (self.box.folder / "told").unlink(missing_ok=True)
            self.box.start(**self.ready)
            self.box.wait_ready()
            if way == "wait" and not (self.box.folder / "told").exists():
                self.box.process.terminate()  # it does not go to sleep in that way
            self.assertEqual(self.box.end()[0], 0, way)

    def test_waits_for_a_mount_in_use(self):
        self.box.start(**self.mount, **self.ready)
        self.box.wait_ready()
        self.box.write("busy")
        self.box.process.terminate()
        self.box.wait_until(lambda: self.box.called("umount"), "unmounting")
        (self.box.folder / "busy").unlink()
        self.assertEqual(self.box.end()[0], 0)

    def test_stops_while_it_waits_for_the_gateway(self):
        self.box.write("mode", "absent")
        self.box.start(**self.ready)
        self.box.wait_until(lambda: self.box.called("nbd-client"), "trying")
        code, lines = self.box.stop()
        self.assertEqual(code, 0, lines)

    def test_stops_while_the_handshake_hangs(self):
        self.box.write("mode", "hang")
        self.box.start(**self.ready)
        self.box.wait_until(lambda: self.box.called("nbd-client"), "trying")
        code, lines = self.box.stop()
        self.assertEqual(code, 0, lines)
        self.assertEqual(len(self.box.called("nbd-client")), 1)

    def test_ends_a_client_that_does_not_let_go(self):
        self.box.write("deaf")
        self.box.start(**self.ready)
        self.box.wait_ready()
        code, lines = self.box.stop()
        self.assertEqual(code, 1, lines)
        self.assertIn("nbd-client does not let go of /dev/nbd0", lines[-1])

    def test_says_when_the_disk_is_lost(self):
        self.box.write("mode", "dies")
        self.box.start(**self.mount, **self.ready)
        self.box.wait_ready()
        self.box.write("busy")
        self.box.write("die")
        code, lines = self.box.end()
        self.assertEqual(code, 1, lines)
        self.assertTrue([line for line in lines if "nbd-client has ended: /dev/nbd0 is lost" in line], lines)
        self.assertTrue([line for line in lines if "nbd-client: nbd,1: Kernel call returned." in line], lines)
        self.assertEqual(self.box.called("umount")[-1], f"umount -l {self.mount['NBDGW_MOUNT']}")
        self.assertFalse((self.box.folder / "ready").exists())

    # with nbdgw attach, where that is installed

    def test_nbdgw_keeps_the_disk(self):
        self.box.give_nbdgw()
        self.box.start(NBDGW_SOCKET="/run/x/nbd.sock", NBDGW_HOLD="forever", NBDGW_RESEND="1s", **self.mount, **self.ready)
        self.assertEqual(self.box.wait_ready(), "/dev/nbd0")
        call = self.box.called("nbdgw")[0]
        self.assertIn("attach vol0 --device auto --wait 60s --hold forever --resend 1s --ready-file", call)
        self.assertTrue(call.endswith("--address unix:///run/x/nbd.sock"), call)
        self.assertEqual(self.box.called("nbd-client"), [])
        code, lines = self.box.stop()
        self.assertEqual(code, 0, lines)
        self.assertEqual(self.box.called("umount"), [f"umount {self.mount['NBDGW_MOUNT']}"])
        self.assertFalse((self.box.folder / "ready").exists())

    def test_nbdgw_that_is_killed_is_started_again(self):
        """The disk is there all the time, and so is its mount."""
        self.box.give_nbdgw()
        self.box.start(NBDGW_HOST="192.0.2.1", **self.mount, **self.ready)
        self.box.wait_ready()
        os.kill(int((self.box.folder / "keeper").read_text()), signal.SIGKILL)
        self.box.wait_until(lambda: len(self.box.called("nbdgw")) == 2, "started again")
        self.assertIn("--device /dev/nbd0", self.box.called("nbdgw")[1])
        self.assertTrue(self.box.called("nbdgw")[1].endswith("--address tcp://192.0.2.1:10809"))
        self.assertEqual(self.box.called("umount"), [])
        code, lines = self.box.stop()
        self.assertEqual(code, 0, lines)

    def test_nbdgw_finds_what_an_earlier_run_has_left_mounted(self):
        self.box.give_nbdgw()
        self.box.write("root/proc/self/mounts", f"/dev/nbd0 {self.mount['NBDGW_MOUNT']} ext4 rw 0 0\n")
        self.box.start(**self.mount, **self.ready)
        self.box.wait_ready()
        self.assertEqual(self.box.called("mount") + self.box.called("umount"), [])
        self.assertEqual(self.box.stop()[0], 0)
        self.assertEqual(len(self.box.called("umount")), 1)

    def test_nbdgw_that_somebody_else_has_told_to_detach(self):
        self.box.give_nbdgw()
        self.box.start(**self.ready)
        self.box.wait_ready()
        os.kill(int((self.box.folder / "keeper").read_text()), signal.SIGTERM)
        code, lines = self.box.end()
        self.assertEqual(code, 1, lines)
        self.assertIn("nbdgw has ended: /dev/nbd0 is lost", lines[-1])

    def test_nbdgw_is_refused_the_export(self):
        self.box.give_nbdgw()
        self.box.write("mode", "refuse")
        self.one_line(self.box.run(**self.ready), 1, "unix:///x says: There is no export of that name.")

    def test_nbd_client_is_still_to_be_had(self):
        self.box.give_nbdgw()
        self.box.start(NBDGW_WITH="nbd-client", **self.ready)
        self.box.wait_ready()
        self.assertEqual(self.box.called("nbdgw"), [])
        self.assertEqual(self.box.stop()[0], 0)

    # what it refuses, in one line that says what to do

    def test_help(self):
        code, lines = self.box.run("--help")
        self.assertEqual(code, 0)
        self.assertIn("NBDGW_READY_FILE", "\n".join(lines))

    def test_unknown_argument(self):
        self.one_line(self.box.run("--export"), 2, "unknown argument --export", "--help")

    def test_wrong_environment(self):
        for environment, words in (
                ({"NBDGW_EXPORT": ""}, ("NBDGW_EXPORT is not set",)),
                ({"NBDGW_SOCKET": "/x", "NBDGW_HOST": "y"}, ("NBDGW_SOCKET and NBDGW_HOST",)),
                ({"NBDGW_WITH": "qemu"}, ("NBDGW_WITH=qemu", "nbdgw or nbd-client")),
                ({"NBDGW_PORT": "0"}, ("NBDGW_PORT=0", "1 to 65535")),
                ({"NBDGW_PORT": "nbd"}, ("NBDGW_PORT=nbd", "1 to 65535")),
                ({"NBDGW_CONNECTIONS": "65"}, ("NBDGW_CONNECTIONS=65", "1 to 64")),
                ({"NBDGW_TIMEOUT": "15s"}, ("NBDGW_TIMEOUT=15s",)),
                ({"NBDGW_TIMEOUT": "99999999999999999999"}, ("NBDGW_TIMEOUT=",)),
                ({"NBDGW_WAIT": "-1"}, ("NBDGW_WAIT=-1",)),
                ({"NBDGW_UMOUNT_WAIT": "x"}, ("NBDGW_UMOUNT_WAIT=x",)),
                ({"NBDGW_BLOCK_SIZE": "8192"}, ("NBDGW_BLOCK_SIZE=8192", "4096")),
                ({"NBDGW_DEVICE": "/dev/sda"}, ("NBDGW_DEVICE=/dev/sda", "/dev/nbdN")),
                ({"NBDGW_DEVICE": "/dev/nbd0p1"}, ("NBDGW_DEVICE=/dev/nbd0p1",)),
                ({"NBDGW_DEVICE": "/dev/nbd"}, ("NBDGW_DEVICE=/dev/nbd",)),
                ({"NBDGW_MKFS": "yes"}, ("NBDGW_MKFS=yes", "if-empty")),
                ({"NBDGW_MKFS": "if-empty"}, ("NBDGW_MKFS is set without NBDGW_MOUNT",)),
                ({"NBDGW_FSTYPE": "btrfs"}, ("NBDGW_FSTYPE=btrfs", "ext4 or xfs")),
                ({"NBDGW_MOUNT": "mnt"}, ("NBDGW_MOUNT=mnt", "absolute")),
                ({"NBDGW_OWNER": "root"}, ("NBDGW_OWNER=root", "UID:GID")),
                ({"NBDGW_OWNER": "0"}, ("NBDGW_OWNER=0", "UID:GID"))):
            with self.subTest(environment):
                self.one_line(self.box.run(**environment), 2, *words)
        self.assertEqual(self.box.calls(), [])

    def test_missing_program(self):
        mkfs = {"NBDGW_MKFS": "if-empty"}
        for name, package, environment in (("mkfs.ext4", "e2fsprogs", {**mkfs, **self.mount}),
                                           ("mkfs.xfs", "xfsprogs", {**mkfs, **self.mount, "NBDGW_FSTYPE": "xfs"}),
                                           ("blkid", "util-linux", {**mkfs, **self.mount}),
                                           ("umount", "mount", self.mount), ("mount", "mount", self.mount),
                                           ("nbd-client", "nbd-client", {})):
            if self.SHELL[0] == "busybox" and name not in NO_APPLETS:
                continue  # it has them itself
            with self.subTest(name):
                self.box.without(name)
                self.one_line(self.box.run(**environment), 1, f"the program {name} is not there", package)

    def test_missing_module(self):
        shutil.rmtree(self.box.root / "sys")
        self.one_line(self.box.run(), 1, "module nbd is not loaded", "modprobe nbd")

    def test_module_in_the_kernel_itself(self):
        shutil.rmtree(self.box.root / "sys/module")
        self.box.start(**self.ready)
        self.box.wait_ready()

    def test_missing_device(self):
        self.one_line(self.box.run(NBDGW_DEVICE="/dev/nbd9"), 1, "/dev/nbd9 is not there", "nbds_max")

    def test_device_without_node(self):
        (self.box.root / "dev/nbd0").unlink()
        self.one_line(self.box.run(), 1, "/dev/nbd0 is not a block device", "/dev")

    def test_device_in_use(self):
        self.box.write("root/sys/block/nbd1/pid", "4711\n")
        self.one_line(self.box.run(NBDGW_DEVICE="/dev/nbd1"), 1, "/dev/nbd1 is in use (pid 4711)", "nbd-client -d")

    def test_all_devices_in_use(self):
        for number in (0, 1):
            self.box.write(f"root/sys/block/nbd{number}/pid", "1\n")
        self.one_line(self.box.run(), 1, "all 2 nbd devices are in use", "nbds_max")

    def test_device_that_somebody_else_attaches(self):
        self.box.write("mode", "taken")
        self.one_line(self.box.run(NBDGW_DEVICE="/dev/nbd0"), 1, "by somebody else", "choose another device")

    def test_missing_gateway(self):
        self.box.write("mode", "absent")
        self.one_line(self.box.run(NBDGW_SOCKET="/run/x.sock", NBDGW_WAIT="1"), 1, "/run/x.sock after 1 s",
                      "CONNECT failed", "is it running")

    def test_refused_export(self):
        self.box.write("mode", "refuse")
        self.one_line(self.box.run(), 1, "the gateway refuses vol0: no export has this name")

    def test_refused_export_without_reason(self):
        self.box.write("mode", "refuse-silently")
        self.one_line(self.box.run(), 1, "the gateway refuses vol0", "log")

    def test_mount_of_a_run_that_is_still_there(self):
        self.box.write("root/proc/self/mounts", f"/dev/nbd1 {self.mount['NBDGW_MOUNT']} ext4 rw 0 0\n")
        self.box.write("root/sys/block/nbd1/pid", "4711\n")
        self.box.write("root/proc/4711/comm", "nbd-client\n")
        self.box.write("theirs")
        ended = self.box.run(NBDGW_READY_FILE=str(self.box.folder / "theirs"), **self.mount)
        self.one_line(ended, 1, "nbd-client (pid 4711) is still there", "stop")
        self.assertEqual(self.box.called("umount"), [])
        self.assertTrue((self.box.folder / "theirs").exists())

    def refused_disk(self, *words, **environment):
        """It attached, would not touch the disk, and detached."""
        code, lines = self.box.run(NBDGW_MKFS="if-empty", **self.mount, **self.ready, **environment)
        self.assertEqual(code, 1, lines)
        for word in words:
            self.assertIn(word, lines[-1])
        self.assertEqual(self.box.called("nbd-client")[-1], "nbd-client -nonetlink -d /dev/nbd0")
        self.assertFalse((self.box.folder / "ready").exists())
        self.assertEqual(self.box.mounts(), [["/dev/vda", "/"]])

    def test_does_not_format_another_filesystem(self):
        self.box.write("blkid", "DEVNAME=/dev/nbd0\nTYPE=xfs\n")
        self.refused_disk("vol0 has xfs on it, not ext4", "wipefs")
        self.assertEqual(self.box.called("mkfs.ext4"), [])

    def test_does_not_format_a_partition_table(self):
        self.box.write("blkid", "DEVNAME=/dev/nbd0\nPTTYPE=gpt\n")
        self.refused_disk("vol0 has a partition table on it")
        self.assertEqual(self.box.called("mkfs.ext4"), [])

    def test_does_not_format_data_that_nobody_knows(self):
        (self.box.folder / "disk").write_bytes(MIB_OF_ZEROS[:-1] + b"\x01")
        self.refused_disk("vol0 has data on it that blkid does not know")
        self.assertEqual(self.box.called("mkfs.ext4"), [])

    def test_does_not_format_what_cannot_be_read(self):
        self.box.write("dd-fails")
        self.refused_disk("cannot read vol0", "Input/output error")
        self.assertEqual(self.box.called("mkfs.ext4"), [])

    def test_does_not_format_if_blkid_is_not_sure(self):
        for text, status in (("", "0"), ("", "4"), ("DEVNAME=/dev/nbd0\n", "8")):
            with self.subTest(status=status):
                self.box.write("blkid", text)
                self.box.write("blkid-status", status)
                self.refused_disk(f"blkid cannot say what is on vol0 (exit status {status})")
        self.assertEqual(self.box.called("mkfs.ext4"), [])

    def test_mkfs_fails(self):
        self.box.write("mkfs-fails")
        self.refused_disk("mkfs.ext4 failed on /dev/nbd0")
        self.assertEqual(self.box.called("mount"), [])

    def test_mount_fails(self):
        self.box.write("mount-fails")
        self.refused_disk("cannot mount /dev/nbd0", "fsck")

    def test_ready_file_that_cannot_be_written(self):
        code, lines = self.box.run(NBDGW_READY_FILE=str(self.box.folder / "no/such/ready"), **self.mount)
        self.assertEqual(code, 1)
        self.assertIn("cannot write", lines[-1])
        self.assertEqual(self.box.mounts(), [["/dev/vda", "/"]])


class Dash(Attach, unittest.TestCase):
    SHELL = ["dash"]


class BusyboxAsh(Attach, unittest.TestCase):
    SHELL = ["busybox", "ash"]
