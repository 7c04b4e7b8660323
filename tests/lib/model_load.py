"""A load of overlapping reads and writes over several NBD connections, judged by a model of what each block may hold.

fio writes no block twice at a time and stops at an error; here several connections write the same blocks at once, and
errors are counted. So this load finds what fio cannot: an older write that lands on top of a newer one."""
import collections
import dataclasses
import errno
import random
import select
import threading
import time

import nbd

from .unaligned import connect

BLOCK = 4096
_TAG = 8  # bytes; a block is filled with the tag of the write that made it
_POLL_S = 0.02
_GIVEN_UP_S = 1  # how long a failed test waits for answers that are of no use any more


@dataclasses.dataclass
class Written:
    """A write as one block has seen it: since when it may be there, and when it was answered."""
    tag: int
    issued: int
    ended: int


class Model:
    """What each block may hold. Time is a count of events.

    A write may be there from when it is issued. It is gone for certain once another write was issued after its answer
    and answered well. So an older value that comes back is a mistake; of writes that were in flight together, any may
    have won, until a read has shown which."""

    def __init__(self, blocks):
        self.clock = 0
        self.held = [[Written(0, 0, 0)] for _ in range(blocks)]
        self.in_flight = [{} for _ in range(blocks)]  # tag -> when it was issued
        self.readers = [[] for _ in range(blocks)]

    def write(self, block, tag):
        self.clock += 1
        self.in_flight[block][tag] = self.clock
        for reader in self.readers[block]:
            reader.allowed.add(tag)
            reader.alone = False

    def wrote(self, block, tag, good):
        """A failed write may have been done, so it rules out nothing; but it must not be done later."""
        self.clock += 1
        issued = self.in_flight[block].pop(tag)
        if good:
            self.held[block] = [w for w in self.held[block] if w.ended >= issued]
        self.held[block].append(Written(tag, issued, self.clock))

    def read(self, block):
        reader = _Reader({w.tag for w in self.held[block]} | set(self.in_flight[block]), not self.in_flight[block])
        self.readers[block].append(reader)
        return reader

    def got(self, block, reader, tag):
        """None, or what is wrong. A failed read (tag None) tells nothing."""
        self.readers[block].remove(reader)
        if tag is None:
            return None
        if tag not in reader.allowed:
            return f"block {block} holds write {tag}, not one of {sorted(reader.allowed)}"
        if reader.alone:
            self.held[block] = [w for w in self.held[block] if w.tag == tag]
        return None


@dataclasses.dataclass(eq=False)
class _Reader:
    allowed: set
    alone: bool  # no write in flight during its life: it shows which one won


@dataclasses.dataclass
class Result:
    """What a load has seen."""
    done: int = 0
    errors: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # "write EIO" -> times
    mistakes: list = dataclasses.field(default_factory=list)  # what the model did not allow
    longest_s: float = 0
    ends: list = dataclasses.field(default_factory=list)  # when each request was answered, time.monotonic()

    def longest_silence_s(self, begin, end):
        """Longest time between two answers, within a span of time."""
        inside = [begin, *(t for t in self.ends if begin < t < end), end]
        return max(after - before for before, after in zip(inside, inside[1:]))


class Load:
    """Keeps `depth` requests in flight on each of `connections`, `rate` a second in all, until stop(). `only` leaves
    out the other command: "read" or "write"."""

    def __init__(self, uri, seed, connections=4, depth=8, blocks=256, sizes=(1, 1, 1, 4, 16, 64), rate=2000, only=None,
                 timeout_s=120):
        self.rng = random.Random(seed)
        self.uri, self.depth, self.sizes, self.rate, self.only = uri, depth, sizes, rate, only
        self.timeout_s = timeout_s
        self.blocks = blocks
        self.model = Model(blocks)
        self.result = Result()
        self.handles = [connect(uri) for _ in range(connections)]
        self.flying = [0] * connections
        self.tag = 0
        self.outstanding = set()  # when each request was asked: a time in nanoseconds, which no two share
        self.last_asked = 0       # of those that were answered
        self.stopping = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.handles[0].zero(blocks * BLOCK, 0)

    def start(self):
        self.begun = time.monotonic()
        self.thread.start()
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.stopping.set()
        self.thread.join(self.timeout_s if kind is None else _GIVEN_UP_S)

    def answered(self):
        return self.result.done

    def flows_since(self, when):
        """True once all that was asked before that time.monotonic() has been answered, and something asked after."""
        return self.last_asked > when and all(start > when for start in list(self.outstanding))

    def stop(self):
        """Ends the load, waits for every answer, reads all blocks once more; returns the result."""
        self.stopping.set()
        self.thread.join(self.timeout_s)
        if self.thread.is_alive():
            raise AssertionError(f"{sum(self.flying)} requests were not answered within {self.timeout_s} s of the end")
        if self.failure is not None:
            raise self.failure
        self.check_all()
        for handle in self.handles:
            handle.shutdown()
        return self.result

    def check_all(self):
        """Reads every block and compares. The load must be over."""
        for block in range(self.blocks):
            reader = self.model.read(block)
            self._judge(block, reader, self.handles[0].pread(BLOCK, block * BLOCK))

    def _run(self):
        try:
            while not self.stopping.is_set() or any(self.flying):
                if not self.stopping.is_set():
                    self._issue()
                self._turn()
        except Exception as error:  # the thread's own mistake: told by stop()
            self.failure = error

    def _issue(self):
        due = int((time.monotonic() - self.begun) * self.rate) - self.result.done - sum(self.flying)
        while due > 0:
            free = [n for n, flying in enumerate(self.flying) if flying < self.depth]
            if not free:
                return
            self._request(self.rng.choice(free))
            due -= 1

    def _turn(self):
        """Waits until a connection can go on, and lets it."""
        poll = select.poll()
        sockets = {}
        for handle in self.handles:
            direction = handle.aio_get_direction()
            mask = (select.POLLIN if direction & nbd.AIO_DIRECTION_READ else 0) | (
                select.POLLOUT if direction & nbd.AIO_DIRECTION_WRITE else 0)
            if mask:
                sockets[handle.aio_get_fd()] = handle
                poll.register(handle.aio_get_fd(), mask)
        for fd, events in poll.poll(_POLL_S * 1000):
            handle = sockets[fd]
            direction = handle.aio_get_direction()
            if direction & nbd.AIO_DIRECTION_READ and events & ~select.POLLOUT:
                handle.aio_notify_read()
            elif direction & nbd.AIO_DIRECTION_WRITE and events & ~select.POLLIN:
                handle.aio_notify_write()

    def _request(self, number):
        handle = self.handles[number]
        count = self.rng.choice(self.sizes)
        first = self.rng.randrange(self.blocks - count + 1)
        blocks = range(first, first + count)
        writes = self.only == "write" or (self.only is None and self.rng.random() < 0.5)
        self.flying[number] += 1
        if writes:
            self._write(number, handle, blocks)
        else:
            self._read(number, handle, blocks)

    def _write(self, number, handle, blocks):
        self.tag += 1
        tag = self.tag
        for block in blocks:
            self.model.write(block, tag)
        start = self._asked()
        data = nbd.Buffer.from_bytearray(bytearray(tag.to_bytes(_TAG, "big") * (BLOCK // _TAG * len(blocks))))
        flags = nbd.CMD_FLAG_FUA if self.rng.random() < 0.1 else 0

        def done(error):
            self._answered(number, "write", start, error.value)
            for block in blocks:
                self.model.wrote(block, tag, error.value == 0)
            return 1

        handle.aio_pwrite(data, blocks[0] * BLOCK, completion=done, flags=flags)

    def _read(self, number, handle, blocks):
        readers = [self.model.read(block) for block in blocks]
        buffer = nbd.Buffer(len(blocks) * BLOCK)
        start = self._asked()

        def done(error):
            self._answered(number, "read", start, error.value)
            data = buffer.to_bytearray() if error.value == 0 else None
            for at, (block, reader) in enumerate(zip(blocks, readers)):
                self._judge(block, reader, data and data[at * BLOCK:(at + 1) * BLOCK])
            return 1

        handle.aio_pread(buffer, blocks[0] * BLOCK, completion=done)

    def _asked(self):
        start = time.monotonic()
        self.outstanding.add(start)
        return start

    def _answered(self, number, command, start, error):
        now = time.monotonic()
        self.outstanding.remove(start)
        self.last_asked = max(self.last_asked, start)
        self.flying[number] -= 1
        self.result.done += 1
        self.result.ends.append(now)
        self.result.longest_s = max(self.result.longest_s, now - start)
        if error:
            self.result.errors[f"{command} {errno.errorcode.get(error, error)}"] += 1

    def _judge(self, block, reader, data):
        """Compares one block; data None: the read failed, which is counted elsewhere."""
        tag = None
        if data is not None:
            tag = int.from_bytes(data[:_TAG], "big")
            if bytes(data) != tag.to_bytes(_TAG, "big") * (BLOCK // _TAG):
                if reader.alone:  # beside a write in flight a read may see parts of it
                    self.result.mistakes.append(f"block {block} is torn: it begins with write {tag}")
                tag = None
        wrong = self.model.got(block, reader, tag)
        if wrong:
            self.result.mistakes.append(wrong)
