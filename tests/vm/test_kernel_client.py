"""The kernel's own NBD client, attached by nbd-client: what it makes of the gateway's exports, and of its troubles."""
from kernel_case import DEVICE, HOST, MIB, KernelCase, fio
from lib.gateway import Gateway
from lib.targets import Embedded, Lun, Tgt

SIZE = 384 * MIB  # xfs takes no less than 300 MiB
SMALL = 64 * MIB
# Several MiB, so that much is in flight, and little enough for an emulated processor.
FILES = """
cd /mnt
dd if=/dev/urandom of=big bs=1M count=24 2>/dev/null
mkdir small
for i in $(seq 1 100); do echo "file $i" > small/$i; done
find . -type f | sort | xargs sha256sum > /tmp/sums
cd /
"""
COMPARE = "cd /mnt && sha256sum -c /tmp/sums > /tmp/compared || { grep -v ': OK' /tmp/compared; exit 1; }"


class Attached(KernelCase):
    """Through tgt, whose LUNs 1 and 2 are thin."""

    @classmethod
    def make_server(cls):
        target = cls.enterClassContext(Tgt({1: Lun(SIZE, thin=True), 2: Lun(SIZE, thin=True), 3: Lun(SMALL)}))
        return Gateway({"array": target}, {"vol0": ("array", 1), "vol1": ("array", 2),
                                           "fixed": ("array", 3, {"read_only": True})}, admin="http")

    def test_01_a_device_is_what_the_export_says(self):
        for connections in (1, 4):
            with self.subTest(connections=connections):
                self.attach(connections=connections)
                self.assertEqual(len(self.clients()), connections)
                shown = {name: self.queue(name) for name in (
                    "size", "ro", "queue/logical_block_size", "queue/physical_block_size", "queue/write_cache",
                    "queue/fua", "queue/rotational", "queue/discard_granularity")}
                self.assertEqual(shown, {
                    "size": str(SIZE // 512), "ro": "0", "queue/logical_block_size": "512",
                    "queue/physical_block_size": "512", "queue/write_cache": "write back", "queue/fua": "1",
                    "queue/rotational": "0", "queue/discard_granularity": "512"})
                self.assertGreater(int(self.queue("queue/discard_max_bytes")), SIZE)
                self.detach()
                self.gone()

    def test_02_ext4(self):
        self.filesystem("mkfs.ext4 -q", "ext4", "e2fsck -f -n", connections=1)

    def test_03_xfs(self):
        self.filesystem("mkfs.xfs -q -f", "xfs", "xfs_repair -n", connections=4)

    def filesystem(self, make, kind, verify, connections):
        """Made, filled, taken down to the last byte, found again by another attachment."""
        self.attach(connections=connections)
        self.guest.check(f"{make} {DEVICE} && mount -t {kind} {DEVICE} /mnt")
        self.guest.check(f"{FILES} umount /mnt")
        self.detach()
        self.attach(connections=connections)
        self.guest.check(f"echo 3 > /proc/sys/vm/drop_caches; mount -t {kind} {DEVICE} /mnt && {COMPARE}")
        self.guest.check(f"umount /mnt && {verify} {DEVICE}")
        self.assertEqual(sum(client["counters"]["errors"] for client in self.clients()), 0)

    def test_04_fio_over_four_connections(self):
        self.attach(connections=4)
        self.fio(numjobs=2, offset_increment="8m", bsrange="4k-64k", cpus_allowed="0,1", cpus_allowed_policy="split")
        busy = [client["counters"]["requests"] for client in self.clients() if client["counters"]["requests"] > 100]
        # The kernel chooses the connection by the processor that asks, and there are two.
        self.assertEqual(len(busy), 2, self.clients())

    def test_05_discarded_blocks_are_zeros(self):
        self.attach()
        self.guest.check(f"dd if=/dev/urandom of={DEVICE} bs=1M count=8 oflag=direct 2>/dev/null")
        self.guest.check(f"blkdiscard -o {MIB} -l {4 * MIB} {DEVICE}")
        self.assertEqual(self.zeros(MIB, 4 * MIB), "zeros")
        for offset in (0, 5 * MIB):
            self.assertEqual(self.zeros(offset, MIB), "data")
        self.guest.check(f"blkdiscard {DEVICE}")
        self.assertEqual(self.zeros(0, 8 * MIB), "zeros")

    def zeros(self, offset, length):
        """"zeros" or "data": what is there, read from the disk and not from the cache."""
        return self.guest.check(f"dd if={DEVICE} of=/tmp/read bs=64k iflag=direct,skip_bytes,count_bytes skip={offset} "
                                f"count={length} 2>/dev/null; [ $(stat -c %s /tmp/read) = {length} ]; "
                                f"cmp -s -n {length} /tmp/read /dev/zero && echo zeros || echo data").strip()

    def test_06_a_read_only_export(self):
        self.attach("fixed")
        self.assertEqual(self.queue("ro"), "1")
        status, output = self.guest.run(f"dd if=/dev/zero of={DEVICE} bs=4k count=1 oflag=direct")
        self.assertEqual(status, 1, output)
        self.assertIn("Operation not permitted", output)
        self.guest.check(f"dd if={DEVICE} of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null")
        self.assertEqual([client["counters"]["bytes_written"] for client in self.clients("fixed")], [0])

    def test_07_two_exports_at_once(self):
        self.attach("vol0", "/dev/nbd0")
        self.attach("vol1", "/dev/nbd1", connections=2)
        running = [self.guest.begin(fio(device, randseed=number, verify_pattern=hex(0xA1 + number), verify="pattern",
                                        size="4m"))
                   for number, device in enumerate(("/dev/nbd0", "/dev/nbd1"))]
        for command in running:
            command.finish()
        # Each pattern is on its own disk.
        for number, device in enumerate(("/dev/nbd0", "/dev/nbd1")):
            self.guest.check(f"dd if={device} bs=4k count=1 iflag=direct 2>/dev/null | hexdump -v -n 16 -e '/1 \"%02x\"' | "
                             f"grep -q '^{0xA1 + number:02x}{0xA1 + number:02x}'")

    def test_08_a_name_that_is_none(self):
        status, output = self.guest.run(f"nbd-client -N nothing {HOST} {self.server.port} {DEVICE}")
        self.assertNotEqual(status, 0)
        self.assertIn("there is no export of this name", output)
        self.attach()  # and the device is as free as before


class Troubles(KernelCase):
    """What the kernel does when an answer or a connection fails to come. Its timer of requests is set short: 30 s are its
    own choice, which nbd-client -timeout and queue/io_timeout change."""
    TIMER_S = 2

    @classmethod
    def make_server(cls):
        cls.target = cls.enterClassContext(Embedded({1: Lun(SMALL)}, control=True))
        return Gateway({"array": cls.target}, {"vol0": ("array", 1)}, admin="http",
                       target_options={"timeouts": {"command": "120s"}})

    def attach_impatiently(self, connections):
        self.attach(connections=connections)
        self.guest.check(f"echo {self.TIMER_S * 1000} > /sys/block/nbd0/queue/io_timeout")

    def tearDown(self):
        self.target.faults.clear()
        super().tearDown()

    def held_write(self, connections):
        """A write is held by the target for some times the kernel's timer; what the kernel said meanwhile."""
        self.attach_impatiently(connections)
        self.guest.check("dd if=/dev/urandom of=/tmp/block bs=4k count=1 2>/dev/null; dmesg -c > /dev/null")
        fault = self.target.faults.post("hang_task", opcode="write", count=1)
        write = self.guest.begin(f"dd if=/tmp/block of={DEVICE} bs=4k seek=16 oflag=direct 2>/dev/null")
        self.eventually(lambda: self.target.faults.hits(fault) == 1, "writing")
        self.guest.wait_until("[ $(dmesg | grep -cE 'Possible stuck|timed out, retrying') -ge 2 ]", "timed out twice")
        self.assertFalse(write.done())
        self.target.faults.delete(fault)
        write.finish()
        self.guest.check(f"dd if={DEVICE} of=/tmp/read bs=4k count=1 skip=16 iflag=direct 2>/dev/null && "
                         "cmp /tmp/block /tmp/read")
        self.assertEqual(self.get("/v1/exports/vol0")["counters"]["errors"], 0)
        return self.guest.check("dmesg")

    def test_01_a_request_held_long_over_one_connection(self):
        """The kernel complains and waits."""
        said = self.held_write(connections=1)
        self.assertIn("Possible stuck request", said)
        self.assertNotIn("I/O error", said)
        self.assertEqual(len(self.clients()), 1)

    def test_02_a_request_held_long_over_four_connections(self):
        """The kernel closes the connection and sends the write again over the next, while the first is still at the
        target. Both are answered, and there is no error, as long as a connection is left."""
        said = self.held_write(connections=4)
        self.assertIn("Connection timed out, retrying", said)
        self.assertNotIn("I/O error", said)
        self.assertLess(len(self.clients()), 4)

    def test_03_one_of_four_connections_is_lost(self):
        """Its requests are sent again over another, once the kernel's timer has found them."""
        self.attach_impatiently(connections=4)
        load = self.guest.begin(fio(size="2m", rw="randrw", verify_backlog=64, time_based=1, runtime=12))
        self.flowing()
        busiest = max(self.clients(), key=lambda client: client["counters"]["requests"])
        self.begin(f"/v1/clients/{busiest['id']}/disconnect")
        self.eventually(lambda: len(self.clients()) == 3, "rid of one client")
        self.flowing()
        result = self.finished(load)
        # The timer runs once in its own length: at the worst a request waits for twice that.
        for way in ("read", "write"):
            self.assert_within(result["jobs"][0][way]["clat_ns"]["max"] / 1e9, 2 * self.TIMER_S + 2, f"the longest {way}")

    def test_04_all_connections_are_lost(self):
        """Nobody makes new ones: requests fail, at once, and the device is free again when it has been detached."""
        self.attach_impatiently(connections=2)
        for client in self.clients():
            self.begin(f"/v1/clients/{client['id']}/disconnect")
        self.gone()
        status, _ = self.guest.run(f"dd if={DEVICE} of=/dev/null bs=4k count=1 iflag=direct")
        self.assertEqual(status, 1)
        self.guest.run(f"nbd-client -d {DEVICE}")
        self.assertEqual(self.queue("size"), "0")
        self.attach()
        self.guest.check(f"dd if={DEVICE} of=/dev/null bs=4k count=1 iflag=direct")
