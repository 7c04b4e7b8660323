"""The gateway is killed, and another one comes: what it knew of caches, of clients and of where it was writing."""
import os
import pathlib
import random
import struct
import subprocess
import time

import base
from base import InteropCase, gateway_only
from lib import admin, gateway, nbdwire, servers, workdir
from lib.targets import Embedded, Lun
from recovery import LUN_SIZE

SIZE = 64 << 10
TOKEN = "00112233445566778899aabbccddeeff"
NOT_FLUSHED = 5  # EIO
# What the pure gateway does at its start, the pause after a crash included, and a busy machine.
BACK_S = 20


def contexts(name, *queries):
    strings = [query.encode() for query in queries]
    return (struct.pack(">I", len(name)) + name + struct.pack(">I", len(strings))
            + b"".join(struct.pack(">I", len(query)) + query for query in strings))


class Client(nbdwire.Wire):
    """One that would make another connection. `word`: client, or resume."""

    def __init__(self, port, word="client", token=TOKEN, export=b"vol0"):
        super().__init__(port, timeout_s=60)
        self.greet()
        replies = self.option(nbdwire.LIST_META, contexts(export, f"x-nbdgw:{word}={token}"))
        assert replies[-1][0] == nbdwire.ACK, replies
        kind, _, text = self.go(export)
        assert kind == nbdwire.ACK, text

    def write(self, offset=0, byte=b"w"):
        error, _, _ = self.ask(nbdwire.WRITE, offset, SIZE, payload=byte * SIZE)
        assert error == 0, f"WRITE: {error}"

    def flush(self):
        return self.ask(nbdwire.FLUSH)[0]


class CrashCase(InteropCase):
    def begin(self, controllers=1, record=True, before=lambda faults: None):
        self.target = self.use(Embedded({1: Lun(LUN_SIZE), 2: Lun(LUN_SIZE)}, control=True, controllers=controllers))
        before(self.target.faults)
        self.folder = workdir.fresh("state")
        extra = {"state_dir": str(self.folder)} if record else {}
        self.server = self.use(gateway.Gateway({"array": self.target}, {"vol0": ("array", 1), "vol1": ("array", 2)},
                                               admin="http", extra=extra))
        self.record = self.folder / "record"

    def crash(self, meanwhile=lambda: None):
        self.server.child.kill()
        meanwhile()
        self.server.start()

    def lose_power(self, drop=False):
        self.target.faults.post("power_loss", drop=drop)

    def logged(self, text, within_s=BACK_S):
        self.server.child.wait_log(text, within_s)


@gateway_only
class Cache(CrashCase):
    """FLUSH after a crash: it fails once for what was lost, and for nothing else."""

    def after(self, before, meanwhile):
        """What three FLUSHes say of a client that has come back."""
        self.begin()
        with Client(self.server.port) as client:
            before(client)
            self.crash(meanwhile)
        with Client(self.server.port, "resume") as client:
            return [client.flush() for _ in range(3)]

    def test_what_was_not_flushed_is_lost(self):
        self.assertEqual(self.after(Client.write, self.lose_power), [NOT_FLUSHED, 0, 0])
        self.assertIn("may have lost", self.server.child.log())

    def test_it_was_flushed(self):
        self.assertEqual(self.after(lambda client: (client.write(), client.flush()), self.lose_power), [0, 0, 0])

    def test_nothing_is_lost(self):
        self.assertEqual(self.after(Client.write, lambda: None), [0, 0, 0])

    def test_the_loss_was_told_to_the_process_that_died(self):
        """The target does not say it twice."""
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.lose_power(drop=True)
            self.logged("may have lost")
            self.crash()
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])

    def test_who_was_told_is_not_told_again(self):
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.lose_power()
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])
            self.crash()
        with Client(self.server.port, "resume") as client:
            self.assertEqual(client.flush(), 0)

    def test_each_of_several_is_told(self):
        self.begin()
        clients = [Client(self.server.port, token=f"{number:032x}") for number in range(4)]
        clients[0].write()
        self.crash(self.lose_power)
        for number in range(4):
            with Client(self.server.port, "resume", token=f"{number:032x}") as client:
                self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])
            clients[number].close()

    def test_somebody_else_comes_first(self):
        """He was not there, and takes nothing from who was."""
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.crash(self.lose_power)
        with Client(self.server.port, token="1234") as newcomer:
            self.assertEqual(newcomer.flush(), 0)
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])

    def test_two_crashes_in_a_row(self):
        """The second one before anybody has come back."""
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.crash(self.lose_power)
            self.logged("logged in")
            self.crash()
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])

    def test_ended_in_good_order_with_nobody_to_tell(self):
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.server.stop()
            self.lose_power()
            self.server.start()
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])
        self.assertNotIn("without a word", self.server.child.log())

    def test_the_gateway_lives_and_the_connection_was_lost(self):
        self.begin()
        with Client(self.server.port) as client:
            client.write()
        self.lose_power(drop=True)
        self.logged("may have lost")
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])


@gateway_only
class Nobody(CrashCase):
    """There is no record, or none that can be used: what a client wrote that comes back may be lost, and it is told."""

    def nothing_is_known(self, meanwhile):
        with Client(self.server.port) as client:
            client.write()
            self.crash(meanwhile)
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])
        self.logged("nothing is known here of what it wrote")

    def test_none_is_configured(self):
        self.begin(record=False)
        self.nothing_is_known(lambda: None)

    def test_it_was_removed(self):
        self.begin()
        self.nothing_is_known(self.record.unlink)

    def test_it_was_cut_off(self):
        self.begin()
        self.nothing_is_known(lambda: os.truncate(self.record, 100))

    def test_it_is_of_another_boot(self):
        self.begin()

        def reboot():
            content = bytearray(self.record.read_bytes())
            boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().encode()
            at = content.index(boot)
            content[at] = ord("0") if content[at] != ord("0") else ord("1")
            self.record.write_bytes(content)
        self.nothing_is_known(reboot)

    def test_rubbish(self):
        """Whatever is in it, the gateway comes up, and no FLUSH is better than it should be."""
        self.begin()
        seed = base.SEED
        source = random.Random(seed)
        for turn in range(10):
            with self.subTest(seed=seed, turn=turn):
                with Client(self.server.port, token=f"{turn}") as client:
                    client.write()

                    def spoil():
                        content = bytearray(self.record.read_bytes())
                        for _ in range(source.choice((1, 30, 3000, 300000))):
                            content[source.randrange(200, len(content))] = source.randrange(256)
                        self.record.write_bytes(content)
                        self.lose_power()
                    self.crash(spoil)
                with Client(self.server.port, "resume", token=f"{turn}") as client:
                    self.assertEqual(client.flush(), NOT_FLUSHED)
                    self.assertEqual(client.flush(), 0)

    def test_a_word_that_was_never_given(self):
        """A guess takes nothing from anybody."""
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.crash(self.lose_power)
        with Client(self.server.port, "resume", token="guessed") as guest:
            self.assertEqual([guest.flush(), guest.flush()], [NOT_FLUSHED, 0])
        with Client(self.server.port, "resume") as client:
            self.assertEqual([client.flush(), client.flush()], [NOT_FLUSHED, 0])

    def test_ten_thousand_words(self):
        """Each is a client that goes without a goodbye. The gateway stays as it is, and serves."""
        self.begin()
        before = rss(self.server.child.pid)
        for number in range(2000):
            Client(self.server.port, token=f"{number}").close()
        self.assertLess(rss(self.server.child.pid) - before, 8 << 20)
        with Client(self.server.port) as client:
            client.write()
            self.assertEqual(client.flush(), 0)
        self.server.stop()


def rss(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@gateway_only
class Unusable(CrashCase):
    """The record cannot be kept: that is said, and the gateway serves all the same."""

    def serves_without(self, *words):
        self.crash()
        for word in words:
            self.assertIn(word, self.server.child.log())
        with Client(self.server.port) as client:
            client.write()
            self.assertEqual(client.flush(), 0)
        self.server.stop()

    def test_of_another_user(self):
        self.begin()
        os.chown(self.record, 12345, 12345)
        self.serves_without("belongs to another user")

    def test_that_others_may_write(self):
        self.begin()
        self.record.chmod(0o666)
        self.serves_without("may be written by other users")

    def test_no_file(self):
        self.begin()
        self.record.unlink()
        self.record.mkdir()
        self.serves_without(str(self.record))

    def test_of_another_gateway_that_runs(self):
        self.begin()
        other = self.use(gateway.Gateway({"array": self.target}, {"vol1": ("array", 2)},
                                         extra={"state_dir": str(self.folder)}, initiator=servers.INITIATOR + "-2"))
        self.assertIn("give each its own state_dir", other.child.log())
        other.stop()
        with Client(self.server.port) as client:
            client.write()
            self.crash(self.lose_power)
        with Client(self.server.port, "resume") as client:
            self.assertEqual(client.flush(), NOT_FLUSHED)

    def test_full(self):
        self.begin()
        self.server.child.kill()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", self.folder], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.folder], check=False)
        (self.folder / "fill").write_bytes(bytes(8 << 10))
        self.server.start()
        self.logged("no room in the record")
        with Client(self.server.port) as client:
            client.write()
            self.assertEqual(client.flush(), 0)
        self.server.stop()


@gateway_only
class Writes(CrashCase):
    """What may still be written by the target for the process that has died."""

    def test_a_lun_that_was_being_written_is_reset_first(self):
        self.begin()
        self.target.faults.post("hang_task", lun=1, opcode="write")
        with Client(self.server.port) as client:
            client.send_request(nbdwire.WRITE, 0, SIZE, payload=b"g" * SIZE)
            self.server.child.wait_until(lambda: any(session["tasks"] for session in self.target.faults.sessions()),
                                         "the write is with the target", BACK_S)
            self.crash(self.target.faults.clear)
            self.assertIn("without a word", self.server.child.log())
        with Client(self.server.port, "resume") as client:
            client.write()
        self.logged("lu_reset")

    def test_one_that_was_not_is_left_alone(self):
        self.begin()
        with Client(self.server.port) as client:
            client.write()
            self.crash()
        with Client(self.server.port, "resume") as client:
            client.write()
            self.assertEqual(client.flush(), 0)
        self.assertNotIn("lu_reset", self.server.child.log())

    def test_the_old_sessions_group_is_visited_first(self):
        """Of two controllers the session was with the second one."""
        self.begin(controllers=2, before=lambda faults: faults.post("check_condition", portal=1, key=2, asc=0x04, ascq=0x0b))
        self.logged("the portal is left for another one")
        with Client(self.server.port) as client:
            client.write()
            self.target.faults.clear()
            self.crash()
        self.logged("logged in")
        session = admin.get(self.server.admin_port, "/v1/sessions/array").body
        self.assertIn(f'"portal":"{self.target.portals[1]}"', session.replace('": "', '":"'))
        self.assertIn("where the session was before this process", session)
        with Client(self.server.port, "resume") as client:
            self.assertEqual(client.flush(), 0)


@gateway_only
class Speed(CrashCase):
    def test_the_first_answer_after_a_crash(self):
        """The pause before the first login is most of it."""
        self.begin()
        took = []
        client = Client(self.server.port)
        for _ in range(10):
            client.write()
            begin = time.monotonic()
            self.crash()
            client.close()
            client = Client(self.server.port, "resume")
            client.write()
            took.append(time.monotonic() - begin)
        client.close()
        took.sort()
        print(f"     from the death to the first answer: median {took[5]:.2f} s, worst {took[-1]:.2f} s", flush=True)
        self.assertLess(took[5], 3)
        self.server.stop()


del CrashCase
