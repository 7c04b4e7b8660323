"""A restart from the program of the release before to this one, and back: attached clients do not notice it."""
import contextlib
import os
import pathlib

from lib import case, nbdwire, targets
from lib.service import Service

MIB = 1 << 20
SIZE = 64 * MIB
FORMER, THIS = "NBDGW_FORMER", "NBDGW_BIN"


class Restarts(case.Case):
    def setUp(self):
        super().setUp()
        self.target = self.use(targets.Embedded({1: targets.Lun(SIZE)}, control=True))
        self.addCleanup(self.choose, None)

    def choose(self, program):
        """What is started from now on; None: this one."""
        root = pathlib.Path(__file__).resolve().parents[2]
        self.this = getattr(self, "this", None) or os.environ.get(THIS) or str(root / "build/release/nbdgw")
        os.environ[THIS] = os.environ[FORMER] if program == FORMER else self.this

    @contextlib.contextmanager
    def serve(self, program):
        """Never two at a time: they would have one initiator name, and each would throw the other out."""
        self.choose(program)
        with Service({"array": self.target}, {"vol0": ("array", 1)}) as self.service:
            yield

    def restart_as(self, program):
        self.choose(program)
        self.service.restart()

    @contextlib.contextmanager
    def clients(self):
        """One with structured replies, one without."""
        with nbdwire.Wire(self.service.port, timeout_s=60) as simple, nbdwire.Wire(self.service.port, timeout_s=60) as structured:
            simple.enter()
            structured.enter(structured=True)
            yield simple, structured

    def test_there_and_back(self):
        for first, second in ((FORMER, THIS), (THIS, FORMER)):
            with self.subTest(first=first), self.serve(first):
                with self.clients() as wires:
                    for program in (second, first, second):
                        for place, wire in enumerate(wires):
                            data = os.urandom(4096)
                            self.assertEqual(wire.ask(nbdwire.WRITE, place * MIB, 4096, payload=data)[0], 0)
                            self.restart_as(program)
                            self.assertEqual(wire.ask(nbdwire.READ, place * MIB, 4096)[:2], (0, data))
                            self.assertEqual(wire.ask(nbdwire.FLUSH)[0], 0)

    def test_what_is_not_flushed_goes_along(self):
        """It is lost while there is no gateway: each client is told once."""
        for first, second in ((FORMER, THIS), (THIS, FORMER)):
            with self.subTest(first=first), self.serve(first):
                with self.clients() as wires:
                    for wire in wires:
                        self.assertEqual(wire.ask(nbdwire.WRITE, 0, 4096, payload=bytes(4096))[0], 0)
                    self.service.end()
                    self.target.faults.post("power_loss")
                    self.choose(second)
                    self.service.launch()
                    for wire in wires:
                        self.assertEqual(wire.ask(nbdwire.FLUSH)[0], nbdwire.EIO)
                        self.assertEqual(wire.ask(nbdwire.FLUSH)[0], 0)

    def test_requests_that_are_held(self):
        """The release before takes what it can, and leaves alone whom it cannot serve."""
        data = os.urandom(MIB)
        with self.serve(THIS), self.clients() as (small, large):
            self.target.kill()
            small.send_request(nbdwire.WRITE, 0, 4096, payload=data[:4096])
            large.send_request(nbdwire.WRITE, MIB, MIB, payload=data)
            self.service.child.wait_log("session lost")
            self.restart_as(FORMER)
            self.target.start()
            self.assertEqual(small.answer(nbdwire.WRITE, 0, 4096)[0], 0)
            self.assertEqual(small.ask(nbdwire.READ, 0, 4096)[:2], (0, data[:4096]))
            self.assertTrue(large.closed_by_server())
