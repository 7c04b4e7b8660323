"""The tests' own TCP proxy: what it claims to do to a connection is what both ends see."""
import select
import socket
import threading

from base import MIB, InteropCase
from lib import sockets
from lib.tcp_proxy import DOWN, UP, TcpProxy

QUIET_S = 0.2  # nothing came for so long: it is held back


class Listener:
    """The far end: accepts, and hands the sockets to the test."""
    iqn = chap = None

    def __init__(self):
        self.port = sockets.free_port()
        self.socket = socket.create_server(("127.0.0.1", self.port))
        self.socket.settimeout(10)

    def accept(self):
        sock, _ = self.socket.accept()
        sock.settimeout(10)
        return sock


class Proxy(InteropCase):
    def setUp(self):
        self.listener = Listener()
        self.addCleanup(self.listener.socket.close)
        self.proxy = self.use(TcpProxy(self.listener))

    def connect(self):
        near = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        far = self.listener.accept()
        for sock in (near, far):
            self.addCleanup(sock.close)
        return near, far

    def silent(self, sock):
        self.assertEqual(select.select([sock], [], [], QUIET_S)[0], [], "something came through")

    def assert_reset(self, sock):
        with self.assertRaises(ConnectionResetError):
            sock.recv(1)

    def test_forwards_everything_both_ways(self):
        near, far = self.connect()
        sent = bytes(range(256)) * (4 * MIB // 256)
        sender = threading.Thread(target=lambda: (near.sendall(sent), near.shutdown(socket.SHUT_WR)))
        sender.start()
        got = b"".join(iter(lambda: far.recv(MIB), b""))
        sender.join()
        self.assertEqual(got, sent)
        far.sendall(b"answer after the end of the other direction")
        far.close()
        self.assertEqual(b"".join(iter(lambda: near.recv(MIB), b"")), b"answer after the end of the other direction")
        near.close()
        self.proxy.child.wait_until(lambda: not self.proxy.ids(), "rid of the connection")

    def test_cut_by_reset_takes_the_named_one_only(self):
        first, second = self.connect(), self.connect()
        ids = self.proxy.ids()
        self.assertEqual(self.proxy.cut(ids[0]), [ids[0]])
        for sock in first:
            self.assert_reset(sock)
        second[0].sendall(b"x")
        self.assertEqual(second[1].recv(1), b"x")
        self.assertEqual(self.proxy.cut(), [ids[1]])
        for sock in second:
            self.assert_reset(sock)

    def test_cut_in_good_order(self):
        near, far = self.connect()
        self.proxy.cut(how="fin")
        self.assertEqual((near.recv(1), far.recv(1)), (b"", b""))

    def test_half_close(self):
        near, far = self.connect()
        self.proxy.half_close(direction=DOWN)
        self.assertEqual(near.recv(1), b"")
        near.sendall(b"x")
        self.assertEqual(far.recv(1), b"x")
        far.sendall(b"y")  # goes nowhere

    def test_hold_of_a_pdu(self):
        """The next PDU of its kind, and what follows it on its connection, wherever the receives have cut them."""
        proxy = self.use(TcpProxy(self.listener, pdus=True))
        near, other = (socket.create_connection(("127.0.0.1", proxy.port), timeout=10) for _ in range(2))
        far, beside = self.listener.accept(), self.listener.accept()
        for sock in (near, other, far, beside):
            self.addCleanup(sock.close)
        command, data = self.pdu(0x41, b"c" * 5), self.pdu(0x05, b"d" * 300, ahs=1)
        near.sendall(command + data[:3])
        self.assertEqual(far.recv(1000), command)
        near.sendall(data[3:])
        self.assertEqual(far.recv(len(data), socket.MSG_WAITALL), data)
        proxy.hold(0x05)
        near.sendall(command + data + command)
        self.assertEqual(far.recv(1000), command)
        self.silent(far)
        self.assertEqual(proxy.held(), proxy.ids()[0])
        other.sendall(data)
        self.assertEqual(beside.recv(len(data), socket.MSG_WAITALL), data)
        proxy.resume()
        self.assertEqual(far.recv(len(data + command), socket.MSG_WAITALL), data + command)
        self.assertIsNone(proxy.held())

    @staticmethod
    def pdu(opcode, data, ahs=0):
        header = bytes([opcode, 0x80, 0, 0, ahs]) + len(data).to_bytes(3, "big") + bytes(40 + 4 * ahs)
        return header + data + bytes(-len(data) % 4)

    def test_stall_holds_bytes_and_the_end(self):
        near, far = self.connect()
        self.proxy.stall()
        near.sendall(b"up")
        far.sendall(b"down")
        near.close()
        self.silent(far)
        self.proxy.resume()
        self.assertEqual(far.recv(2), b"up")

    def test_stall_of_one_direction(self):
        near, far = self.connect()
        self.proxy.stall(direction=UP)
        near.sendall(b"up")
        far.sendall(b"down")
        self.assertEqual(near.recv(4), b"down")
        self.silent(far)
        self.proxy.resume()
        self.assertEqual(far.recv(2), b"up")

    def test_a_reset_does_not_pass_a_stall(self):
        near, far = self.connect()
        self.proxy.stall(direction=DOWN)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        near.sendall(b"into the void")
        self.silent(near)
        near.sendall(b"and more")
        self.silent(near)
        self.proxy.resume()
        self.assert_reset(near)

    def test_new_connections_stalled(self):
        self.proxy.stall(new=True)
        near, far = self.connect()
        near.sendall(b"x")
        self.silent(far)
        self.proxy.resume()
        self.assertEqual(far.recv(1), b"x")

    def test_refuse_and_admit(self):
        near, far = self.connect()
        self.proxy.refuse()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        near.sendall(b"x")
        self.assertEqual(far.recv(1), b"x", "those that were there go on")
        self.proxy.admit()
        self.connect()
