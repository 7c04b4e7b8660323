"""The gateway as a service of systemd: sockets that are listened on for it, readiness, watchdog. The service manager's
part is played by lib.socket_unit; what it is told and passes is systemd's protocol (sd_notify(3), sd_listen_fds(3))."""
import signal
import socket

import base
from base import gateway_only
from lib import admin, nbdwire, servers, socket_unit, targets, workdir, yaml_text

MIB = 1 << 20
TIMEOUT_S = 20


@gateway_only
class SocketUnits(base.InteropCase):
    def setUp(self):
        self.directory = workdir.fresh("service")
        self.config_path = self.directory / "nbdgw.yaml"

    def write(self, target=None, **listen):
        where = {"iqn": target.iqn, "portals": [target.portal]} if target else {
            "iqn": "iqn.2026-11.io.nbdgw:nobody", "portals": ["127.0.0.1:1"]}
        self.config_path.write_text(yaml_text.dump({
            "listen": listen,
            "initiator": {"name": servers.INITIATOR},
            "targets": [{"name": "array", **where}],
            "exports": [{"name": "vol0", "target": "array", "lun": 1}]}))

    def launch(self, manager, **more):
        return manager.start("nbdgw", servers.gateway_command("serve", "-c", self.config_path), **more)

    def ready(self, manager, child):
        """What it said when it was ready."""
        told = manager.told(TIMEOUT_S)
        self.assertIsNotNone(told, child.log())
        self.assertEqual(told.get("READY"), "1", told)
        return told

    def refused(self, manager, *words):
        """It does not start; one line says why."""
        child = self.launch(manager)
        self.assertNotEqual(child.wait(TIMEOUT_S), 0)
        line = child.log().strip().splitlines()[-1]
        for word in words:
            self.assertIn(word, line)

    def test_sockets_may_be_named_like_what_a_restart_leaves(self):
        target = self.use(targets.Embedded({1: targets.Lun(16 * MIB)}))
        names = ["nbdgw-nbd.socket", "nbdgw-", "nbdgw-state", "nbdgw-client-0", "nbdgw-client-1", "nbdgw-client-x"]
        sockets = [socket_unit.tcp() for _ in names]
        self.write(target, nbd=[f"systemd:{name}" for name in names])
        with socket_unit.Manager(store=16, **{name: [each] for name, each in zip(names, sockets)}) as manager:
            child = self.launch(manager)
            self.ready(manager, child)
            wires = []
            for each in sockets:
                wires.append(self.use(nbdwire.Wire(each.getsockname()[1])))
                wires[-1].enter()
            for _ in range(2):  # clients are kept beside such sockets, under the same names
                child.send(signal.SIGTERM)
                self.assertEqual(child.wait(TIMEOUT_S), 0)
                self.assertEqual(len(manager.stored), 1 + len(wires))
                while manager.told(0.1):
                    pass
                child = self.launch(manager)
                self.ready(manager, child)
                for wire in wires:
                    self.assertEqual(wire.ask(nbdwire.READ, 0, 512)[1], bytes(512))
            self.assertEqual(child.stop(), 0)

    def test_sockets_are_taken_by_their_names(self):
        target = self.use(targets.Embedded({1: targets.Lun(16 * MIB)}))
        paths = [self.directory / name for name in ("nbd.sock", "admin.sock")]
        tcp, unix, steering = socket_unit.tcp(), socket_unit.unix(paths[0]), socket_unit.unix(paths[1])
        self.write(target, nbd=["systemd:nbd"], admin=["systemd:admin"])
        with socket_unit.Manager(nbd=[tcp, unix], admin=[steering]) as manager:
            child = self.launch(manager)
            self.assertIn("1 export(s)", self.ready(manager, child)["STATUS"])
            for wire in (nbdwire.Wire(tcp.getsockname()[1]), nbdwire.Wire(None, unix=paths[0])):
                with wire:
                    wire.enter()
                    self.assertEqual(wire.ask(nbdwire.READ, 0, 512)[1], bytes(512))
            status = admin.curl("http://localhost/v1/status", unix=paths[1]).json()
            self.assertEqual(sorted(status["addresses"]["nbd"]),
                             sorted([f"tcp://127.0.0.1:{tcp.getsockname()[1]}", f"unix://{paths[0]}"]))
            self.assertEqual(status["addresses"]["admin"], [f"unix://{paths[1]}"])
            self.assertEqual(child.stop(), 0)
            for path in paths:
                self.assertTrue(path.exists(), "the service manager's, not ours to remove")

    def test_a_restart_refuses_nobody(self):
        """Who comes while the gateway is away waits, and is served by the next one. What was written is there."""
        target = self.use(targets.Tgt({1: targets.Lun(16 * MIB)}))
        listening = socket_unit.tcp()
        port = listening.getsockname()[1]
        self.write(target, nbd=["systemd:nbd"])
        with socket_unit.Manager(nbd=[listening]) as manager:
            for how in (signal.SIGTERM, signal.SIGKILL):
                child = self.launch(manager)
                self.ready(manager, child)
                data = bytes([how]) * 4096
                with nbdwire.Wire(port) as wire:
                    wire.enter()
                    self.assertEqual(wire.ask(nbdwire.WRITE, 0, 4096, payload=data)[0], 0)
                    child.send(how)
                    child.wait(TIMEOUT_S)
                waiting = [nbdwire.Wire(port) for _ in range(20)]
                while manager.told(0.1):
                    pass
                child = self.launch(manager)
                for wire in waiting:
                    with wire:
                        wire.enter()
                        self.assertEqual(wire.ask(nbdwire.READ, 0, 4096)[1], data)
                self.ready(manager, child)
                self.assertEqual(child.stop(), 0)
                while manager.told(0.1):
                    pass

    def test_watchdog_reload_and_stop_are_told(self):
        self.write(nbd=["systemd:nbd"])
        with socket_unit.Manager(nbd=[socket_unit.tcp()]) as manager:
            child = self.launch(manager, watchdog_s=0.6)
            self.ready(manager, child)
            for _ in range(5):
                self.assertEqual(manager.told(5), {"WATCHDOG": "1"})

            def next_but_watchdog():
                told = manager.told(TIMEOUT_S)
                while told == {"WATCHDOG": "1"}:
                    told = manager.told(TIMEOUT_S)
                return told

            child.send(signal.SIGHUP)
            self.assertEqual(next_but_watchdog()["RELOADING"], "1")
            self.assertEqual(next_but_watchdog(), {"READY": "1", "STATUS": "running, configuration reloaded"})
            self.config_path.write_text("listen: [\n")
            child.send(signal.SIGHUP)
            self.assertEqual(next_but_watchdog()["RELOADING"], "1")
            told = next_but_watchdog()
            self.assertEqual(told["READY"], "1")
            self.assertIn("changed nothing", told["STATUS"])
            child.send(signal.SIGTERM)
            self.assertEqual(next_but_watchdog()["STOPPING"], "1")
            self.assertEqual(child.wait(TIMEOUT_S), 0)

    def test_a_program_that_hangs_does_not_feed_the_watchdog(self):
        self.write(nbd=["systemd:nbd"])
        with socket_unit.Manager(nbd=[socket_unit.tcp()]) as manager:
            child = self.launch(manager, watchdog_s=0.6)
            self.ready(manager, child)
            self.assertEqual(manager.told(5), {"WATCHDOG": "1"})
            child.send(signal.SIGSTOP)
            while manager.told(0.05):
                pass
            self.assertIsNone(manager.told(1.5))
            child.send(signal.SIGCONT)
            self.assertEqual(manager.told(5), {"WATCHDOG": "1"})
            child.stop()

    def test_wrong_sockets(self):
        self.write(nbd=["systemd:nbd"])
        with self.subTest("none"), socket_unit.Manager() as manager:
            self.refused(manager, "systemd:nbd", "FileDescriptorName=nbd")
        with self.subTest("another name"), socket_unit.Manager(disk=[socket_unit.tcp()]) as manager:
            self.refused(manager, "systemd:nbd", "disk")
        with self.subTest("one that nobody takes"), socket_unit.Manager(nbd=[socket_unit.tcp()],
                                                                        admin=[socket_unit.tcp()]) as manager:
            self.refused(manager, '"admin"', "listen.admin")
        with self.subTest("does not listen"), socket_unit.Manager(nbd=[socket_unit.tcp(listening=False)]) as manager:
            self.refused(manager, "systemd:nbd", "Accept=no")
        with self.subTest("no stream"):
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind(("127.0.0.1", 0))
            with socket_unit.Manager(nbd=[datagrams]) as manager:
                self.refused(manager, "systemd:nbd", "ListenStream=")

    def test_admin_socket_that_others_reach_needs_a_token(self):
        self.write(nbd=["systemd:nbd"], admin=["systemd:admin"])
        with socket_unit.Manager(nbd=[socket_unit.tcp()], admin=[socket_unit.tcp("0.0.0.0")]) as manager:
            self.refused(manager, "systemd:admin", "admin.token_file")

    def test_passed_to_somebody_else(self):
        """LISTEN_PID of another process: the sockets are not for us (a shell between, say)."""
        self.write(nbd=["systemd:nbd"])
        with socket_unit.Manager(nbd=[socket_unit.tcp()]) as manager:
            child = manager.start("nbdgw", ["env", "LISTEN_PID=1",
                                            *servers.gateway_command("serve", "-c", self.config_path)])
            self.assertNotEqual(child.wait(TIMEOUT_S), 0)
            self.assertIn("systemd:nbd", child.log())
