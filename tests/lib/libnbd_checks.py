"""What libnbd's own API can ask that the command-line clients do not: flags, chunks, errors."""
import errno

import nbd

from .unaligned import connect

MIB = 1 << 20


def flags_and_chunks(uri, size):
    """Structured reads, DF, FUA, zero, trim, and errors for requests that libnbd itself would not let through."""
    handle = connect(uri, strict=False)
    assert handle.get_structured_replies_negotiated(), "structured replies"
    data = bytes(range(256)) * (3 * MIB // 256)
    handle.pwrite(data, MIB, nbd.CMD_FLAG_FUA)
    _structured(handle, data, 0)
    _structured(handle, data, nbd.CMD_FLAG_DF)
    handle.zero(MIB, 2 * MIB, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    assert bytes(handle.pread(MIB, 2 * MIB)) == bytes(MIB), "zeroed"
    assert bytes(handle.pread(MIB, 3 * MIB)) == data[2 * MIB:], "beside the zeroed"
    handle.trim(MIB, 3 * MIB, nbd.CMD_FLAG_FUA)
    handle.flush()
    _errors(handle, size)
    assert bytes(handle.pread(MIB, MIB)) == data[:MIB], "still served after the errors"
    handle.shutdown()


def _structured(handle, want, flags):
    got, chunks = bytearray(len(want)), []

    def chunk(part, offset, status, error):
        assert error.value == 0 and status in (nbd.READ_DATA, nbd.READ_HOLE), (status, error.value)
        chunks.append(len(part))
        got[offset - MIB:offset - MIB + len(part)] = bytes(len(part)) if status == nbd.READ_HOLE else part

    handle.pread_structured(len(want), MIB, chunk, flags)
    assert bytes(got) == want, "structured read"
    assert not flags or len(chunks) == 1, f"DF: {len(chunks)} chunks"


def _errors(handle, size):
    _fails(errno.EINVAL, handle.pread, 512, size)
    _fails(errno.EINVAL, handle.pread, 1024, size - 512)
    _fails(errno.ENOSPC, handle.pwrite, bytes(1024), size - 512)
    _fails(errno.ENOSPC, handle.zero, 1024, size - 512)
    _fails(errno.EINVAL, handle.trim, 1024, size - 512)


def _fails(number, call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == number, f"{call.__name__}{arguments[-1:]}: {error}, not {errno.errorcode[number]}"
    else:
        raise AssertionError(f"{call.__name__}{arguments[-1:]} succeeded")
