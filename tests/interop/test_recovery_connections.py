"""What networks and dying targets do to connections, while data is written, read back and compared all the time.
Clients see pauses, no error and no wrong byte."""
import itertools
import time

from base import gateway_only, serve
from lib.tcp_proxy import BOTH, DOWN, UP, TcpProxy
from lib.targets import Istgt, Lun, Tgt
from recovery import CONNECTION_TIMEOUTS, LUN_SIZE, NOP_S, SECONDS, RecoveryCase

CUT_EVERY_S = 1


class OnTarget(RecoveryCase):
    """What the cases need of a target, behind a proxy that can do all that networks do."""
    # From the loss of the session until requests are answered again, where the target is up: the pauses between logins
    # (0.1 s doubling) and a slow machine with sanitizers.
    back_s = 3
    target_options = {}

    def setUp(self):
        self.target = self.use(self.make_target())
        self.proxy = self.use(TcpProxy(self.target))
        self.server = self.use(serve(self.proxy, self.lun, target_options={"timeouts": CONNECTION_TIMEOUTS, **self.target_options}))

    def joined(self):
        """Waits until the session has all its connections; returns their ids."""
        self.server.child.wait_until(lambda: len(self.proxy.ids()) == 4, "connected four times")
        return self.proxy.ids()


class OnTgt(OnTarget):
    lun = 1

    def make_target(self):
        return Tgt({1: Lun(LUN_SIZE)})


class Restarts:
    def test_killed_and_started_again(self):
        """kill -9 of the target, in the middle of everything; what it had answered is in its file."""
        with self.under_load(self.server) as load:
            for pause in (0, 0.5, 2):
                time.sleep(2)
                self.target.kill()
                time.sleep(pause)
                self.target.start()
                self.flows(self.server, load, pause + self.back_s, f"after a restart with a pause of {pause} s")
        self.server.stop()


@gateway_only
class TgtCuts(OnTgt):
    """Connections end, one or all, again and again."""

    def test_cut_every_second(self):
        """One connection, all of them, in turn; by a reset and in good order, in turn."""
        kinds = itertools.cycle([(1, "rst"), (4, "rst"), (1, "fin"), (4, "fin")])
        with self.under_load(self.server, fsync=128) as load:
            begin = time.monotonic()
            while time.monotonic() < begin + SECONDS - 2 * CUT_EVERY_S:
                next_at = time.monotonic() + CUT_EVERY_S
                count, how = next(kinds)
                cut = self.proxy.cut(self.joined()[-count:], how)
                self.assertEqual(len(cut), count)
                self.flows(self.server, load, self.back_s, f"after a cut of {count} ({how})")
                time.sleep(max(0, next_at - time.monotonic()))
        self.server.stop()


@gateway_only
class TgtConnections(Restarts, OnTgt):
    """Other trouble."""

    def stalled(self, count, direction):
        """Nothing passes on some connections: the gateway must miss the pings' answers, give the session up and make a
        new one. Afterwards the old bytes come through, to no effect."""
        with self.under_load(self.server) as load:
            ids = self.joined()
            self.proxy.stall(ids[-count:], direction)
            self.given_up(self.server, self.proxy, ids, NOP_S + self.back_s)
            self.flows(self.server, load, self.back_s, f"with {count} stalled ({direction})")
            self.proxy.resume()
        self.server.stop()

    def test_stall_of_one(self):
        self.stalled(1, BOTH)

    def test_half_close(self):
        for direction in (DOWN, UP):
            with self.subTest(direction), self.under_load(self.server) as load:
                ids = self.joined()
                self.proxy.half_close(ids[1], direction)
                self.given_up(self.server, self.proxy, ids, self.back_s)
                self.flows(self.server, load, self.back_s, f"after a half-close ({direction})")
        self.server.stop()

    def test_stall_of_all(self):
        self.stalled(4, BOTH)

    def test_stall_towards_the_gateway(self):
        """Writes are done whose answers do not come."""
        self.stalled(1, DOWN)

    def test_short_stall_is_waited_out(self):
        """Shorter than the ping's time: no connection is lost for it."""
        with self.under_load(self.server) as load:
            ids = self.joined()
            self.proxy.stall()
            time.sleep(NOP_S / 4)
            self.proxy.resume()
            self.flows(self.server, load, self.back_s, "after a short stall")
            self.assertEqual(self.proxy.ids(), ids)
        self.server.stop()

    def test_network_is_gone_for_a_while(self):
        """New connections, too, are made and then hear nothing: logins time out until the network is back."""
        with self.under_load(self.server) as load:
            self.joined()
            self.proxy.stall(new=True)
            time.sleep(3 * NOP_S)
            self.proxy.resume()
            # The login under way may have to time out (2 s) and the pause after it may have grown to 5 s.
            self.flows(self.server, load, 2 + 5 + self.back_s, "after the network came back")
        self.server.stop()

    def test_refused_for_a_while(self):
        with self.under_load(self.server) as load:
            self.joined()
            self.proxy.refuse()
            self.proxy.cut()
            time.sleep(2)
            self.proxy.admit()
            self.flows(self.server, load, 2 + self.back_s, "once connections are accepted again")
        self.server.stop()


@gateway_only
class IstgtRestarts(Restarts, OnTarget):
    """Cutting connections is not for istgt 0.4: its threads clean a lost session up in a race with the next login, in
    which it locks up, or crashes, as it comes (seen with four runs side by side in half of them). It claims a
    write cache, so that its unit attention after a start would rightly fail the next flush; its file knows better."""
    lun = 0
    # Seen once, on a machine that did much else: a login right after its start was not answered in time. Then the
    # timeout of a login is added, and the next pause, which is 3.2 s after an absence of 2 s.
    back_s = OnTarget.back_s + 2 + 3.2
    target_options = {"power_on_attention": "ignore"}

    def make_target(self):
        return Istgt({0: Lun(LUN_SIZE)})


del OnTarget, OnTgt  # no tests by themselves
