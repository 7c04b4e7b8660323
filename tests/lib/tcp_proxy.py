"""A TCP proxy between the gateway and a target, to do to connections what networks do: cut, stall, half-close, refuse.

It is a process of its own, so that neither the test's interpreter nor a blocked client library can hold it up. The
test steers it through TcpProxy. "up" is from the gateway to the target, "down" the way back."""
import collections
import json
import os
import pathlib
import select
import socket
import struct
import sys

UP, DOWN, BOTH = "up", "down", "both"
_CHUNK = 256 << 10
_CONNECT_TIMEOUT_S = 2


class TcpProxy:
    """The proxy as the test holds it: a port that leads to the target's port, and what is done to the connections.
    `which` is a connection's id, a list of ids, or None for all that there are. `pdus`: it knows iSCSI, for hold()."""

    def __init__(self, target, pdus=False):
        from . import sockets, workdir
        self.target = target
        self.pdus = pdus
        self.port = sockets.free_port()
        self._directory = workdir.fresh("proxy")
        self.child = self._control = None

    def __enter__(self):
        from .process import Child
        path = self._directory / "control"
        self.child = Child("proxy", ["/usr/bin/python3", pathlib.Path(__file__), self.port, self.target.port, path,
                                      *(["pdus"] if self.pdus else [])],
                            directory=self._directory).start()
        self.child.wait_listening(self.port)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        connection.connect(str(path))
        self._control = connection.makefile("rw")
        return self

    def __exit__(self, *_):
        if self._control is not None:
            self._control.close()
        if self.child is not None:
            self.child.kill()

    # What the gateway's configuration wants to know of a target; the portal is ours.

    @property
    def portal(self):
        return f"127.0.0.1:{self.port}"

    @property
    def iqn(self):
        return self.target.iqn

    @property
    def chap(self):
        return self.target.chap

    # What can be done.

    def connections(self):
        """Every connection that is not over yet, oldest first: {"id", "open": the gateway has not ended it, "stalled",
        "up" and "down": bytes forwarded so far}."""
        return self._do("list")

    def ids(self):
        """The connections that work."""
        return [c["id"] for c in self.connections() if c["open"] and not c["stalled"]]

    def cut(self, which=None, how="rst"):
        """Ends connections on both sides, with a reset or ("fin") in good order, in the middle of whatever they carry.
        Returns the ids."""
        return self._do("cut", which=which, how=how)

    def stall(self, which=None, direction=BOTH, new=False):
        """Nothing is forwarded any more, not even the end of a connection; bytes pile up in the socket buffers. With
        new, connections that are made from now on are stalled, too."""
        return self._do("stall", which=which, direction=direction, new=new)

    def resume(self, which=None):
        """Forwards again, first of all what has piled up; new connections are no longer stalled."""
        return self._do("resume", which=which)

    def hold(self, opcode):
        """Of all that the gateway sends from now on, on whatever connection, the next iSCSI PDU of this opcode is kept
        back, and what follows it there, until resume(). For a proxy made with `pdus`; there must be no digests."""
        return self._do("hold", opcode=opcode)

    def held(self):
        """The id of the connection on which something is held; None: of none."""
        return next((c["id"] for c in self.connections() if c["held"]), None)

    def half_close(self, which=None, direction=DOWN):
        """Ends one direction only, with a FIN; the other goes on."""
        return self._do("half_close", which=which, direction=direction)

    def refuse(self):
        """Connection refused, for new ones."""
        return self._do("refuse")

    def admit(self):
        return self._do("admit")

    def _do(self, what, **more):
        self._control.write(json.dumps({"do": what, **more}) + "\n")
        self._control.flush()
        line = self._control.readline()
        if not line:
            self.child.fail("ended")
        answer = json.loads(line)
        if "error" in answer:
            self.child.fail(answer["error"])
        return answer["result"]


class _Framer:
    """Finds the PDUs in what the gateway sends."""
    HEADER = 8  # bytes that tell opcode and length

    def __init__(self, wanted):
        self.wanted = wanted  # shared by all connections: the opcodes to hold
        self.rest = b""       # the beginning of a header
        self.skip = 0         # of the PDU that is on its way

    def feed(self, data):
        """What may go on, and what is to be held."""
        data, at = self.rest + data, 0
        self.rest = b""
        while True:
            step = min(self.skip, len(data) - at)
            self.skip -= step
            at += step
            if self.skip or len(data) - at < self.HEADER:
                self.rest = data[at:]
                return data[:at], b""
            if (data[at] & 0x3f) in self.wanted:
                self.wanted.remove(data[at] & 0x3f)
                return data[:at], data[at:]
            length = int.from_bytes(data[at + 5:at + 8], "big")
            self.skip = 48 + 4 * data[at + 4] + (length + 3 & ~3)


class _Half:
    """One direction of a connection."""

    def __init__(self, source, sink, framer=None):
        self.source, self.sink, self.framer = source, sink, framer
        self.pending = self.held = b""
        self.moved = 0
        self.stalled = False
        self.eof = False       # nothing more comes from the source
        self.closed = False    # the sink has been told so
        self.discard = False   # what still comes goes nowhere
        self.sink_lost = False

    def wants_read(self):
        return not self.eof and (self.discard or (not self.stalled and not self.pending and not self.held))

    def wants_write(self):
        return not self.stalled and bool(self.pending)

    def finish(self):
        """FIN to the sink now; what was under way is lost."""
        self.pending, self.held, self.discard = b"", b"", True
        self._close_sink()

    def release(self):
        """Lets go of what is held."""
        if not self.held:
            return
        more, self.held = self.framer.feed(self.held)
        self.pending += more

    def read(self, lost):
        """Takes what the source has; `lost`: the source was reset, which it no longer says by itself."""
        data = self.source.recv(_CHUNK)
        if not data:
            if lost:
                raise ConnectionResetError
            self.eof = True
        elif not self.discard:
            self.pending, self.held = self.framer.feed(data) if self.framer else (data, b"")
        if self.eof and not self.pending:
            self._close_sink()

    def write(self, knows):
        """Sends on. A sink that was reset is an error if its news can travel back (knows); else what comes is lost."""
        try:
            sent = self.sink.send(self.pending)
        except (ConnectionResetError, BrokenPipeError):
            if knows:
                raise
            self.discard, self.closed, self.sink_lost, sent = True, True, True, len(self.pending)
        self.moved += sent
        self.pending = self.pending[sent:]
        if self.eof and not self.pending:
            self._close_sink()

    def _close_sink(self):
        if not self.closed:
            self.closed = True
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass


class _Pair:
    """A connection: the gateway's socket, the target's, and what flows between them."""

    def __init__(self, number, near, far, wanted):
        self.number, self.near, self.far = number, near, far
        self.up, self.down = _Half(near, far, _Framer(wanted) if wanted is not None else None), _Half(far, near)

    def halves(self, direction):
        return {UP: [self.up], DOWN: [self.down], BOTH: [self.up, self.down]}[direction]

    def over(self):
        return all(half.closed and half.eof for half in (self.up, self.down))


class _Loop:
    """The process: one thread, one epoll set."""

    def __init__(self, port, target_port, control_path, pdus):
        self.pdus = pdus
        self.port, self.target_port = port, target_port
        self.epoll = select.epoll()
        self.pairs = collections.OrderedDict()
        self.by_fd, self.masks = {}, {}
        self.made = 0
        self.stall_new = None
        self.wanted = set()
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(control_path)
        self.control.listen(1)
        self.epoll.register(self.control, select.EPOLLIN)
        self.tester, self.lines = None, b""
        self.listener = None
        self.admit()  # last: the tester takes the port for the sign that all is there

    def run(self):
        while True:
            for fd, events in self.epoll.poll():
                if self.listener is not None and fd == self.listener.fileno():
                    self.accept()
                elif fd == self.control.fileno():
                    self.tester, _ = self.control.accept()
                    self.epoll.register(self.tester, select.EPOLLIN)
                elif self.tester is not None and fd == self.tester.fileno():
                    if not self.read_commands():
                        return
                elif fd in self.by_fd:
                    self.on_socket(*self.by_fd[fd], events)

    # Connections

    def accept(self):
        near, _ = self.listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self.target_port), timeout=_CONNECT_TIMEOUT_S)
        except OSError:
            _reset(near)
            return
        self.made += 1
        pair = _Pair(self.made, near, far, self.wanted if self.pdus else None)
        self.pairs[pair.number] = pair
        for half in pair.halves(self.stall_new) if self.stall_new else []:
            half.stalled = True
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.by_fd[sock.fileno()] = (pair, sock)
            self.epoll.register(sock, 0)
            self.masks[sock.fileno()] = 0
        self.watch(pair)

    def on_socket(self, pair, sock, events):
        half, back = (pair.up, pair.down) if sock is pair.near else (pair.down, pair.up)
        may_read = events & ~select.EPOLLOUT and half.wants_read()
        may_write = events & ~select.EPOLLIN and back.wants_write()
        if not may_read and not may_write:
            self.park(sock)
            return
        try:
            if may_read:
                half.read(lost=back.sink_lost)
                if half.wants_write():
                    half.write(knows=not back.stalled)
            if may_write:
                back.write(knows=not half.stalled)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.remove(pair, _reset)
            return
        if pair.over():
            self.remove(pair, _close)
        else:
            self.watch(pair)

    def park(self, sock):
        """The peer has ended the connection while we may not know: epoll would tell so again and again. It is looked
        at again once there is something to do with it."""
        self.masks[sock.fileno()] = None
        self.epoll.unregister(sock)

    def watch(self, pair):
        for sock, reads, writes in ((pair.near, pair.up, pair.down), (pair.far, pair.down, pair.up)):
            mask = (select.EPOLLIN if reads.wants_read() else 0) | (select.EPOLLOUT if writes.wants_write() else 0)
            before = self.masks[sock.fileno()]
            if before is None and mask:
                self.epoll.register(sock, mask)
            elif before is not None and mask != before:
                self.epoll.modify(sock, mask)
            else:
                continue
            self.masks[sock.fileno()] = mask

    def unwatch(self, sock):
        del self.by_fd[sock.fileno()]
        if self.masks.pop(sock.fileno()) is not None:
            self.epoll.unregister(sock)

    def remove(self, pair, close):
        self.pairs.pop(pair.number, None)
        for sock in (pair.near, pair.far):
            self.unwatch(sock)
            close(sock)

    # Commands

    def read_commands(self):
        data = self.tester.recv(1 << 16)
        if not data:
            return False
        *lines, self.lines = (self.lines + data).split(b"\n")
        for line in lines:
            try:
                command = json.loads(line)
                answer = {"result": getattr(self, "do_" + command.pop("do"))(**command)}
            except Exception as error:  # told to the test, which fails with it
                answer = {"error": repr(error)}
            self.tester.sendall(json.dumps(answer).encode() + b"\n")
        return True

    def chosen(self, which):
        numbers = list(self.pairs) if which is None else [which] if isinstance(which, int) else which
        return [self.pairs[number] for number in numbers if number in self.pairs]

    def do_list(self):
        return [{"id": pair.number, "open": not pair.up.eof and not pair.down.closed,
                 "stalled": pair.up.stalled or pair.down.stalled, "held": bool(pair.up.held), UP: pair.up.moved,
                 DOWN: pair.down.moved}
                for pair in self.pairs.values()]

    def do_cut(self, which, how):
        pairs = self.chosen(which)
        for pair in pairs:
            if how == "rst":
                self.remove(pair, _reset)
            else:
                self.finish(pair, BOTH)
        return [pair.number for pair in pairs]

    def do_half_close(self, which, direction):
        pairs = self.chosen(which)
        for pair in pairs:
            self.finish(pair, direction)
        return [pair.number for pair in pairs]

    def do_stall(self, which, direction, new):
        pairs = self.chosen(which)
        for pair in pairs:
            for half in pair.halves(direction):
                half.stalled = True
            self.watch(pair)
        if new:
            self.stall_new = direction
        return [pair.number for pair in pairs]

    def do_resume(self, which):
        self.stall_new = None
        pairs = self.chosen(which)
        for pair in pairs:
            for half in pair.halves(BOTH):
                half.stalled = False
                half.release()
            self.watch(pair)
        return [pair.number for pair in pairs]

    def do_hold(self, opcode):
        self.wanted.add(opcode)

    def do_refuse(self):
        if self.listener is not None:
            self.epoll.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def do_admit(self):
        self.admit()

    def admit(self):
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            self.epoll.register(self.listener, select.EPOLLIN)

    def finish(self, pair, direction):
        for half in pair.halves(direction):
            half.stalled = False
            half.finish()
        self.watch(pair)


def _close(sock):
    sock.close()


def _reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


if __name__ == "__main__":
    _Loop(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], "pdus" in sys.argv[4:]).run()
    os._exit(0)
