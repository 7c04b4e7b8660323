"""A raw NBD client, byte by byte, that can say what no well-behaved client says."""
import socket
import struct

PASSWD, IHAVEOPT = 0x4E42444D41474943, 0x49484156454F5054
OPTION_REPLY, REQUEST = 0x0003E889045565A9, 0x25609513
SIMPLE, STRUCTURED = 0x67446698, 0x668E33EF

FIXED_NEWSTYLE, NO_ZEROES = 1, 2
EXPORT_NAME, ABORT, LIST, PEEK_EXPORT, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META, SET_META, EXTENDED = range(1, 12)
ACK, SERVER, REP_INFO = 1, 2, 3
_ERR = 1 << 31
UNSUP, POLICY, INVALID, PLATFORM, TLS_REQD, UNKNOWN, SHUTDOWN = (_ERR + n for n in range(1, 8))
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = range(4)

READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_ERROR, CHUNK_ERROR_OFFSET = 0, 1, 2, 0x8001, 0x8002
DONE = 1


class Closed(Exception):
    """The server closed the connection."""


class Wire:
    """One connection. The methods send exactly what they are given and return exactly what came."""

    def __init__(self, port, timeout_s=20, unix=None):
        if unix:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout_s)
            self.sock.connect(str(unix))
        else:
            self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.structured = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            raise Closed from None

    def recv(self, size):
        """Exactly size bytes; Closed if the server ends the stream before."""
        parts, left = [], size
        while left:
            try:
                data = self.sock.recv(min(left, 1 << 20))
            except ConnectionResetError:
                raise Closed from None
            if not data:
                raise Closed
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def closed_by_server(self):
        """True once the server has closed without another byte; False if it says something."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    # Handshake

    def greet(self, client_flags=FIXED_NEWSTYLE | NO_ZEROES):
        """Reads the greeting, returns the handshake flags, answers with the client flags (None: does not answer)."""
        passwd, magic, flags = struct.unpack(">QQH", self.recv(18))
        assert (passwd, magic) == (PASSWD, IHAVEOPT), "greeting"
        if client_flags is not None:
            self.send(struct.pack(">I", client_flags))
        return flags

    def send_option(self, option, data=b"", magic=IHAVEOPT, length=None):
        self.send(struct.pack(">QII", magic, option, len(data) if length is None else length) + data)

    def option_reply(self):
        """(option, type, data) of the next option reply."""
        magic, option, kind, length = struct.unpack(">QIII", self.recv(20))
        assert magic == OPTION_REPLY, f"option reply magic {magic:#x}"
        assert length <= 64 << 10, f"option reply of {length} bytes"
        return option, kind, self.recv(length)

    def option(self, option, data=b""):
        """Sends an option; returns its replies up to ACK or an error as [(type, data)]."""
        self.send_option(option, data)
        replies = []
        while True:
            echoed, kind, payload = self.option_reply()
            assert echoed == option, f"reply to option {echoed}, not {option}"
            replies.append((kind, payload))
            if kind == ACK or kind & _ERR:
                return replies

    @staticmethod
    def info_payload(name=b"vol0", requests=()):
        return (struct.pack(">I", len(name)) + name + struct.pack(">H", len(requests))
                + b"".join(struct.pack(">H", r) for r in requests))

    def go(self, name=b"vol0", requests=(), option=GO):
        """GO (or INFO): returns (last reply type, {info type: bytes}, error text)."""
        replies = self.option(option, self.info_payload(name, requests))
        infos = {struct.unpack(">H", data[:2])[0]: data[2:] for kind, data in replies if kind == REP_INFO}
        kind, data = replies[-1]
        return kind, infos, data.decode()

    def export_name(self, name=b"vol0", zeroes=False):
        """EXPORT_NAME: returns (size, flags)."""
        self.send_option(EXPORT_NAME, name)
        size, flags = struct.unpack(">QH", self.recv(10))
        if zeroes:
            assert self.recv(124) == bytes(124), "the 124 zeroes"
        return size, flags

    def enter(self, name=b"vol0", structured=False):
        """The whole handshake, up to transmission; returns (size, flags)."""
        self.greet()
        if structured:
            assert self.option(STRUCTURED_REPLY)[-1][0] == ACK
            self.structured = True
        kind, infos, text = self.go(name)
        assert kind == ACK, f"GO: {kind:#x} {text}"
        return struct.unpack(">QH", infos[INFO_EXPORT])

    # Transmission

    def send_request(self, command, offset=0, length=0, flags=0, cookie=0x1122334455667788, payload=b"", magic=REQUEST):
        self.send(struct.pack(">IHHQQI", magic, flags, command, cookie, offset, length) + payload)

    def simple_reply(self):
        magic, error, cookie = struct.unpack(">IIQ", self.recv(16))
        assert magic == SIMPLE, f"simple reply magic {magic:#x}"
        return error, cookie

    def chunk(self):
        """(flags, type, cookie, payload) of the next structured reply chunk."""
        magic, flags, kind, cookie, length = struct.unpack(">IHHQI", self.recv(20))
        assert magic == STRUCTURED, f"structured reply magic {magic:#x}"
        return flags, kind, cookie, self.recv(length)

    def ask(self, command, offset=0, length=0, flags=0, payload=b"", cookie=0x1122334455667788):
        """One request and its whole answer: (error, data read, error text). Checks the cookie, the kind of reply and
        every rule on chunks that holds for any answer."""
        self.send_request(command, offset, length, flags, cookie, payload)
        return self.answer(command, offset, length, cookie)

    def answer(self, command, offset, length, cookie=0x1122334455667788):
        if self.structured:
            return self._chunks(command, offset, length, cookie)
        error, echoed = self.simple_reply()
        assert echoed == cookie, f"cookie {echoed:#x}"
        return error, self.recv(length) if command == READ and not error else b"", ""

    def _chunks(self, command, offset, length, cookie):
        magic = struct.unpack(">I", self.sock.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL))[0]
        if magic == SIMPLE:
            assert command != READ, "READ answered with a simple reply though structured replies were negotiated"
            error, echoed = self.simple_reply()
            assert echoed == cookie
            return error, b"", ""
        data, covered, error, text = bytearray(), 0, 0, ""
        while True:
            flags, kind, echoed, payload = self.chunk()
            assert echoed == cookie, f"cookie {echoed:#x}"
            if kind == CHUNK_DATA:
                at = struct.unpack(">Q", payload[:8])[0]
                assert len(payload) > 8 and offset <= at and at + len(payload) - 8 <= offset + length, "chunk's place"
                data.extend(bytes(max(0, at - offset + len(payload) - 8 - len(data))))
                data[at - offset:at - offset + len(payload) - 8] = payload[8:]
                covered += len(payload) - 8
            elif kind == CHUNK_HOLE:
                at, size = struct.unpack(">QI", payload)
                assert size and offset <= at and at + size <= offset + length, "hole's place"
                data.extend(bytes(max(0, at - offset + size - len(data))))
                covered += size
            elif kind in (CHUNK_ERROR, CHUNK_ERROR_OFFSET):
                error, size = struct.unpack(">IH", payload[:6])
                assert error and len(payload) == 6 + size + (8 if kind == CHUNK_ERROR_OFFSET else 0), "error chunk"
                text = payload[6:6 + size].decode()
            else:
                assert kind == CHUNK_NONE and flags & DONE and not payload, f"chunk type {kind}"
            if flags & DONE:
                break
        assert error or command != READ or covered == length, f"{covered} of {length} bytes answered"
        return error, bytes(data), text
