"""NBD clients that nobody would wish for, and the honest ones beside them: each holds what it can, in its own way.

Run as a program (port, export), it is a busy client in a process of its own, to be stopped from outside."""
import itertools
import os
import pathlib
import random
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import nbdwire as n  # noqa: E402
from lib.nbdwire import Closed, Wire  # noqa: E402
from lib.process import Child  # noqa: E402

MIB = 1 << 20
HEADER = struct.Struct(">IHHQQI")
_GONE = (Closed, OSError)
_SMALL_BUFFER = 16 << 10  # of a socket whose owner does not read: little shall be out of the gateway's hands
_QUIET_S = 0.3  # the gateway has taken no byte for so long: it takes none


def header(command, offset, length, cookie=1):
    return HEADER.pack(n.REQUEST, 0, command, cookie, offset, length)


def attach(server, export="vol0", timeout_s=20):
    wire = Wire(server.port, timeout_s=timeout_s)
    wire.enter(export.encode())
    return wire


class _Client:
    """One connection, from `with` on; begin() is what it is known for."""

    def __init__(self, server, export="vol0"):
        self.server, self.export = server, export
        self.wire = None
        self.ending = threading.Event()
        self.threads = []

    def __enter__(self):
        self.wire = attach(self.server, self.export)
        self.begin()
        return self

    def __exit__(self, *_):
        self.ending.set()
        if self.wire is not None:
            try:
                self.wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(20)
        if self.wire is not None:
            self.wire.close()

    def begin(self):
        raise NotImplementedError

    def aside(self, work):
        """Runs it in a thread; that the gateway closes the connection is no failure."""
        def run():
            try:
                work()
            except _GONE:
                pass
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

    def local_port(self):
        return self.wire.sock.getsockname()[1]

    def cut_off(self):
        """True once the gateway has closed it, whatever it had sent before."""
        self.wire.sock.setblocking(False)
        try:
            while self.wire.sock.recv(1 << 20):
                pass
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def still_open(self):
        """Without a byte read."""
        try:
            info = self.wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:
            return False
        return info[0] == 1  # TCP_ESTABLISHED


class Announcer(_Client):
    """The header of a WRITE and, of its payload, `sent` bytes, as far as the gateway takes them; then nothing more."""

    def __init__(self, server, export="vol0", length=32 * MIB, sent=0, offset=0):
        super().__init__(server, export)
        self.length, self.sent, self.offset = length, sent, offset

    def begin(self):
        # The answer to the FLUSH before it shows that the header has arrived.
        self.wire.send(header(n.FLUSH, 0, 0, 2) + header(n.WRITE, self.offset, self.length))
        self.wire.simple_reply()
        self.sent = self._push(self.sent)

    def _push(self, wanted):
        sock, data = self.wire.sock, bytes(min(wanted, MIB))
        done = 0
        sock.settimeout(_QUIET_S)
        try:
            while done < wanted:
                done += sock.send(data[:wanted - done])
        except TimeoutError:
            pass
        sock.settimeout(20)
        return done


class NonReader(_Client):
    """READs in a heap, of whose replies it takes nothing."""

    def __init__(self, server, export="vol0", depth=64, size=MIB):
        super().__init__(server, export)
        self.depth, self.size = depth, size

    def begin(self):
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        self.wire.send(b"".join(header(n.READ, 0, self.size, cookie) for cookie in range(self.depth)))


class DripReader(NonReader):
    """The same, but it takes `piece` bytes now and then."""

    def __init__(self, server, export="vol0", depth=64, size=MIB, piece=1, pause_s=0.2):
        super().__init__(server, export, depth, size)
        self.piece, self.pause_s = piece, pause_s

    def begin(self):
        super().begin()
        self.aside(self._drip)

    def _drip(self):
        while not self.ending.wait(self.pause_s):
            self.wire.recv(self.piece)


class DripWriter(Announcer):
    """A payload that comes `piece` bytes at a time."""

    def __init__(self, server, export="vol0", length=32 * MIB, offset=0, piece=1, pause_s=0.2):
        super().__init__(server, export, length, 0, offset)
        self.piece, self.pause_s = piece, pause_s

    def begin(self):
        super().begin()
        self.aside(self._drip)

    def _drip(self):
        while not self.ending.wait(self.pause_s):
            self.wire.send(bytes(self.piece))


class Returner(_Client):
    """Announces a WRITE, goes away without a word, and comes again, over and over."""

    def __init__(self, server, export="vol0", length=32 * MIB):
        super().__init__(server, export)
        self.length = length
        self.rounds = 0

    def begin(self):
        self.aside(self._again)

    def _again(self):
        while not self.ending.is_set():
            with attach(self.server, self.export) as wire:
                wire.send(header(n.WRITE, 0, self.length) + bytes(64 << 10))
            self.rounds += 1


class Busy(_Client):
    """An honest client that wants all it can get: `depth` requests at a time, and it takes every reply."""

    def __init__(self, server, export="vol0", depth=64, size=MIB, command=n.READ, region=64 * MIB, offset=0):
        super().__init__(server, export)
        self.depth, self.size, self.command = depth, size, command
        self.offset, self.region = offset, region
        self.answered = 0

    def begin(self):
        self.slots = threading.Semaphore(self.depth)
        self.aside(self._ask)
        self.aside(self._take)

    def _ask(self):
        payload = bytes(self.size) if self.command == n.WRITE else b""
        for at in itertools.cycle(range(self.offset, self.offset + self.region - self.size + 1, self.size)):
            self.slots.acquire()
            if self.ending.is_set():
                return
            self.wire.send(header(self.command, at, self.size) + payload)

    def _take(self):
        try:
            while not self.ending.is_set():
                error, _ = self.wire.simple_reply()
                assert error == 0, f"error {error}"
                if self.command == n.READ:
                    self._swallow(self.size)
                self.answered += 1
                self.slots.release()
        finally:
            self.ending.set()
            self.slots.release()

    def _swallow(self, left):
        while left:
            got = len(self.wire.sock.recv(min(left, MIB)))
            if got == 0:
                raise Closed
            left -= got


class Stopped:
    """A busy client in a process of its own, that is stopped (SIGSTOP) in the middle of its work."""

    def __init__(self, server, export="vol0", works_s=0.5):
        self.server, self.works_s = server, works_s
        self.child = Child("stopped-client", [sys.executable, __file__, server.port, export],
                           directory=server.directory)

    def __enter__(self):
        self.child.start()
        self.child.wait_log("busy")
        time.sleep(self.works_s)
        self.child.send(signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        self.child.kill()


def hostile(rng, server, exports):
    """One of them, drawn; not begun yet."""
    export = rng.choice(exports)
    length = rng.choice((MIB, 8 * MIB, 32 * MIB))
    return rng.choice((
        lambda: Announcer(server, export, length),
        lambda: Announcer(server, export, length, rng.randrange(length), rng.choice((0, 512, 4096))),
        lambda: NonReader(server, export, rng.choice((64, 128, 256)), rng.choice((4096, 64 << 10, MIB))),
        lambda: DripReader(server, export, rng.choice((64, 256)), rng.choice((64 << 10, MIB)),
                           rng.choice((1, 1000, 64 << 10))),
        lambda: DripWriter(server, export, length, piece=rng.choice((1, 1000, 64 << 10))),
        lambda: Returner(server, export, length),
        lambda: Busy(server, export, 64, MIB),
        lambda: Stopped(server, export),
    ))()


def mix(seed, server, exports, count):
    """`count` of them; the seed says which."""
    rng = random.Random(seed)
    return [hostile(rng, server, exports) for _ in range(count)]


class _Here:
    """A server as seen from the program below."""

    def __init__(self, port):
        self.port = int(port)


if __name__ == "__main__":
    with Busy(_Here(sys.argv[1]), sys.argv[2]) as client:
        print("busy", os.getpid(), flush=True)
        client.ending.wait()
