"""A small limit of open files: clients are fewer, and what the gateway needs for itself is there when it needs it."""
import contextlib
import re
import signal

from base import MIB, InteropCase, gateway_only
from lib import gateway, sockets
from lib import nbdwire as n
from lib.nbdwire import Closed, Wire
from lib.process import ChildError
from lib.targets import Embedded, Lun

CONNECTIONS = 4


def limited(target, files, **options):
    return gateway.Gateway({"array": target}, {"vol0": ("array", 1)}, wrap=["prlimit", f"--nofile={files}:{files}"],
                           connections=CONNECTIONS, admin="http", **options)


@gateway_only
class FewDescriptors(InteropCase):
    def attach_all(self, server):
        """As many clients as it lets in; those beyond are turned away at once."""
        attached, turned_away = [], 0
        while turned_away < 5:
            wire = self.use(Wire(server.port))
            try:
                wire.enter()
            except Closed:
                turned_away += 1
            else:
                attached.append(wire)
        return attached

    def test_session_comes_back_with_all_clients_there(self):
        target = self.use(Embedded({1: Lun(16 * MIB)}, max_connections=CONNECTIONS))
        server = self.use(limited(target, 180))
        attached = self.attach_all(server)
        told = re.search(r"allows this process 180 open files.* (\d+) clients are let in .*LimitNOFILE=(\d+)",
                         server.child.log())
        self.assertTrue(told, "the start says the numbers and what to set")
        self.assertEqual(len(attached), int(told[1]))
        self.assertGreater(len(attached), 10)
        self.assertIn("the limit of open files allows no more", server.child.log())
        for _ in range(2):
            target.kill()
            attached[0].send_request(n.WRITE, 0, 4096, payload=b"w" * 4096)
            target.start()
            self.assertEqual(attached[0].answer(n.WRITE, 0, 4096)[0], 0, "it was held, and is done")
            server.child.wait_until(lambda: sockets.established_to(server.pid, target.port) == CONNECTIONS,
                                    "logged in with all connections")
            for wire in attached:
                self.assertEqual(wire.ask(n.READ, 0, 4096)[:2], (0, b"w" * 4096))
        self.assertNotIn("Too many open files", server.child.log())
        attached.pop().close()  # its place is free
        server.child.wait_until(lambda: self.comes_in(server), "letting another client in")
        server.stop()

    def comes_in(self, server):
        with Wire(server.port) as wire:
            try:
                wire.enter()
            except Closed:
                return False
        return True

    def test_a_reload_that_needs_more_says_so(self):
        target = self.use(Embedded({1: Lun(16 * MIB)}, max_connections=CONNECTIONS))
        server = self.use(limited(target, 180, extra={"limits": {"connections": 10}}))
        self.assertNotIn("LimitNOFILE", server.child.log())
        server.extra = {"limits": {"connections": 1000}}
        server.write_config()
        server.child.send(signal.SIGHUP)
        server.child.wait_log("not 1000 (limits.connections); set LimitNOFILE=")
        self.assertLess(len(self.attach_all(server)), 180)
        server.stop()

    def test_too_few_for_a_single_client(self):
        target = self.use(Embedded({1: Lun(16 * MIB)}, max_connections=CONNECTIONS))
        server = limited(target, 100)
        # It listens before it knows: a fast look sees it start.
        with contextlib.suppress(ChildError):
            self.use(server)
        self.assertEqual(server.child.wait(5), 1)
        self.assertIn("no client could be let in; set LimitNOFILE=", server.child.log())
