"""A power loss at the embedded target: what a client may believe about its writes before and after."""
import errno

import nbd

from .unaligned import connect

_SIZE = 64 << 10
_DURABLE, _FUA, _LATER, _RACED = 0, 1 << 20, 2 << 20, 3 << 20


def unflushed_write_is_told_once(uri, faults, drop):
    """A write that was answered and not flushed is lost with the power: one FLUSH of each client that was there says so,
    whoever asks first, and none of one that comes later. What was flushed, or written with FUA, is there. `drop`: the
    connections go, too."""
    first, second = connect(uri), connect(uri)
    first.pwrite(b"a" * _SIZE, _DURABLE)
    first.flush()
    first.pwrite(b"f" * _SIZE, _FUA, nbd.CMD_FLAG_FUA)
    first.pwrite(b"b" * _SIZE, _DURABLE)
    faults.post("power_loss", drop=drop)
    assert flush(second) == errno.EIO, "FLUSH after unflushed writes were lost"
    later = connect(uri)
    assert flush(second) == 0, "the loss was told twice"
    assert flush(later) == 0, "the loss was told to one who was not there"
    assert flush(first) == errno.EIO, "FLUSH after unflushed writes were lost, by the other client"
    assert flush(first) == 0, "the loss was told twice"
    _holds(first, _DURABLE, b"a", "the target did not lose what was not flushed: this test tests nothing")
    _holds(first, _FUA, b"f", "written with FUA")
    first.pwrite(b"c" * _SIZE, _LATER)
    assert flush(second) == 0, "FLUSH of a write after the power loss"
    faults.post("power_loss", drop=drop)
    for handle in (first, second, later):
        assert flush(handle) == 0, "nothing was unflushed at the second power loss"
    _holds(second, _LATER, b"c", "flushed after the power loss")
    for handle in (first, second, later):
        handle.shutdown()


def nothing_unflushed_nothing_told(uri, faults, drop):
    """All writes were flushed or had FUA: a power loss is no client's business."""
    handle = connect(uri)
    handle.pwrite(b"f" * _SIZE, _FUA, nbd.CMD_FLAG_FUA)
    handle.pwrite(b"a" * _SIZE, _DURABLE)
    handle.flush()
    faults.post("power_loss", drop=drop)
    assert flush(handle) == 0, "FLUSH with nothing lost"
    _holds(handle, _DURABLE, b"a", "flushed")
    _holds(handle, _FUA, b"f", "written with FUA")
    handle.shutdown()


def write_after_the_loss_does_not_hide_it(uri, faults):
    """The first command after the power loss is a write that works: the FLUSH after it must still tell of the write
    before."""
    handle = connect(uri)
    handle.pwrite(b"b" * _SIZE, _RACED)
    faults.post("power_loss", drop=True)
    handle.pwrite(b"c" * _SIZE, _LATER)
    assert flush(handle) == errno.EIO, "FLUSH after unflushed writes were lost"
    assert flush(handle) == 0, "the loss was told twice"
    _holds(handle, _LATER, b"c", "written after the loss, flushed by the second FLUSH")
    handle.shutdown()


def flush(handle):
    """0 or the error number."""
    try:
        handle.flush()
    except nbd.Error as error:
        return error.errnum or -1
    return 0


def _holds(handle, offset, byte, what):
    got = bytes(handle.pread(_SIZE, offset))
    assert got == byte * _SIZE, f"{what}: holds {got[:1]!r}..., not {byte!r}"
