"""Byte-granular I/O through libnbd, judged by a model in memory."""
import nbd

_SECTOR = 512


def connect(uri, strict=True):
    handle = nbd.NBD()
    if not strict:
        handle.set_strict_mode(0)
    handle.connect_uri(uri)
    return handle


def against_model(uri, region, operations, rng):
    """Random writes, zeroes and reads of any offset and length over the first bytes of the disk, one at a time,
    each read compared; at the end the whole region, through a second connection."""
    first, second = connect(uri), connect(uri)
    model = bytearray(rng.randbytes(region))
    first.pwrite(bytes(model), 0)
    for number in range(operations):
        handle = rng.choice((first, second))
        length = rng.choice((1, 7, _SECTOR, rng.randrange(1, 5000), rng.randrange(1, 200_000)))
        offset = rng.choice((rng.randrange(0, region - length), rng.randrange(0, (region - length) // 4096 + 1) * 4096))
        length = min(length, region - offset)
        what = rng.randrange(5)
        if what <= 1:
            data = rng.randbytes(length)
            handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if what else 0)
            model[offset:offset + length] = data
        elif what == 2:
            handle.zero(length, offset, rng.choice((0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA)))
            model[offset:offset + length] = bytes(length)
        else:
            got = handle.pread(length, offset)
            _same(bytes(model[offset:offset + length]), bytes(got), offset, f"operation {number}")
    first.flush()
    _same(bytes(model), bytes(second.pread(region, 0)), 0, "at the end")
    for handle in (first, second):
        handle.shutdown()


def neighbours(uri, connections, rng, region=64 << 10):
    """Many small writes to neighbouring byte ranges, all in flight at once over several connections, so that each
    shares its blocks with others: a read-modify-write that is not fenced loses one of them."""
    handles = [connect(uri) for _ in range(connections)]
    handles[0].zero(region, 0)
    want = bytearray(region)
    offset, flights = 0, []
    while offset < region:
        length = min(rng.randrange(1, 700), region - offset)
        data = bytes([rng.randrange(1, 256)]) * length
        want[offset:offset + length] = data
        handle = rng.choice(handles)
        flights.append((handle, handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset)))
        offset += length
    for handle, cookie in flights:
        while not handle.aio_command_completed(cookie):
            handle.poll(-1)
    _same(bytes(want), bytes(handles[0].pread(region, 0)), 0, "neighbouring writes")
    for handle in handles:
        handle.shutdown()


def _same(want, got, offset, when):
    if want != got:
        at = next(i for i in range(len(want)) if want[i] != got[i])
        raise AssertionError(f"{when}: byte {offset + at} is {got[at]:#x}, not {want[at]:#x} "
                             f"(read of {len(want)} at {offset})")
