"""The checks that every target must pass, whatever its settings: real clients, real data."""
import filecmp
import random
import time

import base
from lib import clients, libnbd_checks, unaligned, workdir

MIB = 1 << 20
COPY_SIZE = 64 * MIB
# Far above what any request takes here, below every timer (the first ping comes after 5 s): a request that takes longer
# was forgotten, and found again by chance.
FORGOTTEN_S = 2


class ClientChecks:
    """Mixed into a SharedServer: one target, many clients."""

    def test_01_nbdinfo(self):
        export = clients.nbdinfo(self.uri)
        self.assertEqual(export["export-size"], self.size)
        for flag in ("can_multi_conn", "can_flush", "can_fua", "can_df", "can_trim", "can_zero"):
            self.assertTrue(export[flag], flag)
        self.assertFalse(export["is_read_only"])
        self.assertEqual(export["block_size_minimum"], 1)
        self.assertGreaterEqual(export["block_size_maximum"], 32 * MIB - 512)
        self.assertEqual([e["export-name"] for e in clients.nbdinfo_list(self.uri)], ["vol0"])

    def test_02_nbdcopy_in_and_out(self):
        directory = workdir.fresh("copy")
        source = workdir.random_file(directory / "in", COPY_SIZE)
        clients.nbdcopy(source, self.uri, 4, "--flush")
        # The LUN's own file is the judge that shares no code with the way back.
        with open(source, "rb") as want, open(self.target.luns[self.lun].path, "rb") as got:
            while block := want.read(MIB):
                self.assertEqual(block, got.read(MIB), f"LUN file differs before {want.tell()}")
        clients.nbdcopy(self.uri, directory / "out")
        with open(directory / "out", "r+b") as out:
            out.truncate(COPY_SIZE)
        self.assertTrue(filecmp.cmp(source, directory / "out", shallow=False))

    def test_03_qemu_io(self):
        clients.qemu_io(
            self.uri,
            "write -P 0x11 0 1M", "read -P 0x11 0 1M",
            "write -P 0x22 511 513", "read -P 0x11 0 511", "read -P 0x22 511 513", "read -P 0x11 1024 1024",
            "write -f -P 0x33 64k 4k", "read -P 0x33 64k 4k",
            "write -P 0x44 4M 9M", "read -P 0x44 4M 9M",
            "write -z 5M 2M", "read -P 0 5M 2M", "read -P 0x44 7M 1M",
            "write -z -u 9M 1M", "read -P 0 9M 1M", "read -P 0x44 10M 1M",
            "write -z 4194305 1000", "read -P 0x44 4M 1", "read -P 0 4194305 1000", "read -P 0x44 4195305 100",
            "discard 10M 1M", "read -P 0x44 11M 1M", "flush", "write -P 0x55 10M 1M", "read -P 0x55 10M 1M")

    def test_04_qemu_img(self):
        directory = workdir.fresh("img")
        source = workdir.random_file(directory / "in", 8 * MIB)
        with open(source, "r+b") as f:  # data, a hole, data: convert writes zeroes or discards for the hole
            f.truncate(self.size)
            f.seek(self.size - MIB)
            f.write(bytes(range(256)) * (MIB // 256))
        clients.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, self.uri])
        clients.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", source, self.uri])

    def test_05_random_against_a_model(self):
        unaligned.against_model(self.uri, region=2 * MIB, operations=600, rng=random.Random(base.SEED))

    def test_06_unaligned_neighbours_at_once(self):
        unaligned.neighbours(self.uri, connections=4, rng=random.Random(base.SEED))

    def test_07_fio_verify_four_connections(self):
        result = clients.Fio(self.uri, jobs=4, rw="randwrite", bs="4k", iodepth=16, size="8m",
                             offset_increment="8m", verify="crc32c", verify_fatal=1, do_verify=1, end_fsync=1).run()
        self.assertEqual(result["write"]["total_ios"], 4 * 2048)
        self.assertEqual(result["read"]["total_ios"], 4 * 2048, "blocks read back and verified")

    def test_08_fio_verify_mixed(self):
        result = clients.Fio(self.uri, jobs=4, rw="randrw", bsrange="512-256k", iodepth=16, size="12m",
                             offset_increment="12m", verify="crc32c", verify_fatal=1, verify_backlog=64,
                             blockalign=512).run()
        self.assertGreater(result["read"]["total_ios"], result["write"]["total_ios"])

    def test_09_libnbd(self):
        libnbd_checks.flags_and_chunks(self.uri, self.size)

    def test_10_one_request_at_a_time_is_never_forgotten(self):
        """With nothing else in flight no other event wakes what waits for a wake-up that was lost."""
        handle = unaligned.connect(self.uri)
        for length in (512, 4096, 65536, 300_000, MIB, 3 * MIB, 8 * MIB, 32 * MIB):
            for call in (lambda: handle.pwrite(bytes(length), 0), lambda: handle.pread(length, 0),
                         lambda: handle.zero(length, 0), handle.flush):
                start = time.monotonic()
                call()
                self.assert_within(time.monotonic() - start, FORGOTTEN_S, f"{length} bytes")
        handle.shutdown()
