"""Every client against every target and setting."""
from base import MIB, SharedServer
from checks import ClientChecks
from lib import clients
from lib.targets import Chap, Istgt, Lun, Tgt

SIZE = 96 * MIB


class TgtDefaults(ClientChecks, SharedServer):
    """tgtd's own defaults (InitialR2T=Yes, ImmediateData=Yes, 8 KiB segments), four connections."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)})


class TgtOneConnection(ClientChecks, SharedServer):
    """The target grants one connection though four are offered."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, max_connections=1)


class TgtUnsolicited(ClientChecks, SharedServer):
    """InitialR2T=No, ImmediateData=Yes: immediate, unsolicited and solicited data in one command."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, params={"InitialR2T": "No", "ImmediateData": "Yes", "FirstBurstLength": 65536,
                                           "MaxBurstLength": 262144})


class TgtLargeBursts(ClientChecks, SharedServer):
    """Bursts of 1 MiB in segments of 256 KiB: one R2T asks for more than a connection queues at a time."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, params={"MaxRecvDataSegmentLength": 262144, "MaxXmitDataSegmentLength": 262144,
                                           "FirstBurstLength": 262144, "MaxBurstLength": 1048576})


class TgtUnsolicitedOnly(ClientChecks, SharedServer):
    """InitialR2T=No, ImmediateData=No: the first burst in Data-Out PDUs of its own."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, params={"InitialR2T": "No", "ImmediateData": "No", "FirstBurstLength": 32768})


class TgtSolicitedOnly(ClientChecks, SharedServer):
    """InitialR2T=Yes, ImmediateData=No: every byte asked for."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, params={"InitialR2T": "Yes", "ImmediateData": "No", "MaxBurstLength": 65536})


class TgtDigests(ClientChecks, SharedServer):
    """Header and data digests CRC32C, demanded by both sides."""
    server_options = {"target_options": {"header_digest": "crc32c", "data_digest": "crc32c"}}

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, params={"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"})


class TgtChap(ClientChecks, SharedServer):
    """CHAP, the gateway proves itself."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, chap=Chap("gateway", "secretsecret1", algorithms=("md5",)))


class TgtChapMutual(ClientChecks, SharedServer):
    """CHAP both ways."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE)}, chap=Chap("gateway", "secretsecret1", "array", "othersecret22", ("md5",)))


class TgtThin(ClientChecks, SharedServer):
    """A thin LUN: TRIM and WRITE_ZEROES become UNMAP and WRITE SAME with UNMAP."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE, thin=True)})

    def test_11_trim_frees_blocks(self):
        path = self.target.luns[1].path
        clients.qemu_io(self.uri, "write -P 0x77 32M 32M", "flush")
        before = path.stat().st_blocks
        clients.qemu_io(self.uri, "discard 32M 32M", "flush")
        self.assertLess(path.stat().st_blocks, before - (16 * MIB) // 512, "the LUN's file did not shrink")


class Tgt4k(ClientChecks, SharedServer):
    """4096-byte blocks: 512-byte and odd requests need read-modify-write."""

    @classmethod
    def make_target(cls):
        return Tgt({1: Lun(SIZE, block_size=4096)})


class IstgtDefaults(ClientChecks, SharedServer):
    """istgt, four connections."""
    lun = 0

    @classmethod
    def make_target(cls):
        return Istgt({0: Lun(SIZE)})


class IstgtChapMutual(ClientChecks, SharedServer):
    """istgt, CHAP both ways, the gateway's own list of algorithms."""
    lun = 0

    @classmethod
    def make_target(cls):
        return Istgt({0: Lun(SIZE)}, chap=Chap("gateway", "secretsecret1", "array", "othersecret22"))
