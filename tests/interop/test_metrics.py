"""/metrics of `nbdgw serve`: the numbers are what clients did, and Prometheus understands them."""
import pathlib
import threading

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, clients, gateway, metrics, nbdwire, servers, unaligned, workdir
from lib.targets import Embedded, Lun
from recovery import LADDER_TIMEOUTS

KIB = 1 << 10
DISK = 32 * MIB
DASHBOARDS = pathlib.Path(__file__).resolve().parents[1] / "dashboards" / "run.py"
DURATION = "nbdgw_nbd_request_duration_seconds"


class MetricsCase(InteropCase):
    def serve(self, target, exports=None, **options):
        server = self.use(gateway.Gateway({"array": target}, exports or {"vol0": ("array", 1)}, admin="http",
                                          **options))
        server.child.wait_until(lambda: admin.get(server.admin_port, "/readyz").status == 200, "ready")
        return server

    def settled(self, server, condition, what):
        """The first scrape of which this is true: a client's end is seen a moment after the client's own."""
        scrapes = []

        def there():
            scrapes.append(metrics.Scrape(server.admin_port))
            return condition(scrapes[-1])
        server.child.wait_until(there, what)
        return scrapes[-1]


@gateway_only
class Numbers(MetricsCase):
    def setUp(self):
        self.target = self.use(Embedded({1: Lun(DISK), 2: Lun(DISK)}, control=True))

    def test_what_nbdcopy_did(self):
        server = self.serve(self.target, {"vol0": ("array", 1), "vol1": ("array", 2)})
        before = metrics.Scrape(server.admin_port)
        self.assertEqual(before("nbdgw_nbd_written_bytes_total", export="vol0"), 0)
        self.assertEqual(before("nbdgw_export_size_bytes", export="vol0"), DISK)
        source = server.directory / "source.img"
        source.write_bytes(b"not zero" * (DISK // 8))
        clients.nbdcopy(source, server.uri("vol0"), 4, "--flush")
        clients.nbdcopy(server.uri("vol0"), "null:")
        now = self.settled(server, lambda s: s("nbdgw_nbd_connections", export="vol0") == 0, "rid of its clients")
        self.assertEqual(now("nbdgw_nbd_written_bytes_total", export="vol0"), DISK)
        self.assertEqual(now("nbdgw_nbd_read_bytes_total", export="vol0"), DISK)
        for command in ("read", "write"):
            requests = now("nbdgw_nbd_requests_total", export="vol0", command=command)
            self.assertGreater(requests, 0)
            self.assertEqual(now(f"{DURATION}_count", export="vol0", command=command), requests)
            self.assertEqual(now(f"{DURATION}_bucket", export="vol0", command=command, le="+Inf"), requests)
            self.assertGreater(now(f"{DURATION}_sum", export="vol0", command=command), 0)
        self.assertGreaterEqual(now("nbdgw_nbd_requests_total", export="vol0", command="flush"), 1)
        self.assertGreaterEqual(now("nbdgw_nbd_connections_total", export="vol0"), 2)
        self.assertEqual(now("nbdgw_nbd_closed_total", reason="disc"), now("nbdgw_nbd_accepted_total"))
        self.assertEqual(now("nbdgw_nbd_in_flight", export="vol0"), 0)
        # On the other side: all of it went to the target, over the connections of its session.
        self.assertGreater(now("nbdgw_scsi_tasks_total", session="array", opcode="WRITE(16)"), 0)
        self.assertGreater(now.total("nbdgw_iscsi_sent_bytes_total", session="array"), DISK)
        self.assertGreater(now.total("nbdgw_iscsi_received_bytes_total", session="array"), DISK)
        self.assertEqual(now("nbdgw_iscsi_pdus_sent_total", session="array", opcode="scsi_command"),
                         now.total("nbdgw_scsi_tasks_total", session="array"))
        self.assertEqual(now("nbdgw_scsi_task_duration_seconds_count", session="array"),
                         now.total("nbdgw_scsi_status_total", session="array"))
        self.assertEqual(now("nbdgw_iscsi_connections", session="array"), 4)
        # The neighbour has seen nothing of it.
        for name in ("nbdgw_nbd_requests_total", "nbdgw_nbd_errors_total", "nbdgw_nbd_read_bytes_total"):
            self.assertEqual(now.total(name, export="vol1"), 0)
        self.assertEqual(server.stop(), 0)

    def test_what_fio_did(self):
        server = self.serve(self.target)
        result = clients.Fio(server.uri(), jobs=2, rw="randrw", bs="4k", iodepth=8, size="8m", number_ios=1500,
                             offset_increment="8m").run()
        now = self.settled(server, lambda s: s("nbdgw_nbd_connections", export="vol0") == 0, "rid of its clients")
        for command, name in (("read", "nbdgw_nbd_read_bytes_total"), ("write", "nbdgw_nbd_written_bytes_total")):
            self.assertEqual(now("nbdgw_nbd_requests_total", export="vol0", command=command),
                             result[command]["total_ios"])
            self.assertEqual(now(name, export="vol0"), result[command]["io_bytes"])
        self.assertEqual(now.total("nbdgw_nbd_errors_total", export="vol0"), 0)
        self.assertEqual(server.stop(), 0)

    def test_errors_by_their_name(self):
        server = self.serve(self.target, {"vol0": ("array", 1, {"read_only": True})})
        handle = unaligned.connect(server.uri())
        handle.set_strict_mode(0)
        for _ in range(3):
            self.assertRaises(nbd.Error, handle.pwrite, b"x" * 512, 0)
        self.assertRaises(nbd.Error, handle.pread, 512, DISK)
        handle.shutdown()
        now = metrics.Scrape(server.admin_port)
        self.assertEqual(now("nbdgw_nbd_errors_total", export="vol0", error="NBD_EPERM"), 3)
        self.assertEqual(now("nbdgw_nbd_errors_total", export="vol0", error="NBD_EINVAL"), 1)
        self.assertEqual(now("nbdgw_nbd_written_bytes_total", export="vol0"), 0)
        self.assertEqual(server.stop(), 0)

    def test_a_climb(self):
        server = self.serve(self.target, target_options={"timeouts": LADDER_TIMEOUTS})
        handle = unaligned.connect(server.uri())
        hang = self.target.faults.post("hang_task", opcode="read", count=1)
        hang_abort = self.target.faults.post("hang_tmf", function=1)
        reading = threading.Thread(target=handle.pread, args=(4 * KIB, 0), daemon=True)
        reading.start()
        rung = {"session": "array", "rung": "abort_task"}
        climbing = self.settled(server, lambda s: s("nbdgw_recovery_active", **rung) == 1, "climbing")
        self.assertEqual(climbing("nbdgw_nbd_in_flight", export="vol0"), 1)
        self.assertGreater(climbing("nbdgw_nbd_oldest_request_seconds", export="vol0"), 1)
        self.assertEqual(climbing("nbdgw_recovery_commands_timed_out_total", session="array"), 1)
        reading.join(30)
        self.assertFalse(reading.is_alive())
        self.assertEqual((self.target.faults.hits(hang), self.target.faults.hits(hang_abort)), (1, 1))
        now = metrics.Scrape(server.admin_port)
        self.assertEqual(now("nbdgw_recovery_rungs_total", outcome="timed_out", **rung), 1)
        self.assertEqual(now("nbdgw_recovery_rungs_total", session="array", rung="relogin", outcome="success"), 1)
        self.assertEqual(now("nbdgw_recovery_duration_seconds_count", **rung), 1)
        self.assertGreaterEqual(now("nbdgw_recovery_duration_seconds_sum", **rung), 1)  # its timeout
        self.assertEqual(now.total("nbdgw_recovery_active", session="array"), 0)
        self.assertEqual(now("nbdgw_iscsi_session_losses_total", session="array"), 1)
        self.assertEqual(now("nbdgw_iscsi_logins_total", session="array", outcome="success"), 2)
        self.assertEqual(now("nbdgw_scsi_retries_total", export="vol0", reason="session_lost"), 1)
        self.assertGreater(now("nbdgw_log_messages_total", level="warn"), 0)
        # One request that took all that time: above the bound of a second.
        count = now(f"{DURATION}_count", export="vol0", command="read")
        self.assertEqual(now(f"{DURATION}_bucket", export="vol0", command="read", le="1"), count - 1)
        self.assertEqual(server.stop(), 0)


@gateway_only
class Judged(MetricsCase):
    """By Prometheus's own tools."""

    def test_promtool_has_no_complaint(self):
        with Embedded({1: Lun(DISK)}) as target:
            server = self.serve(target, {'a "name" with \\ and ünicode': ("array", 1)})
            scrape = metrics.Scrape(server.admin_port)
            self.assertEqual(scrape.content_type, "text/plain; version=0.0.4; charset=utf-8")
            self.assertEqual(scrape("nbdgw_export_up", export='a "name" with \\ and ünicode'), 1)
            metrics.promtool("check", "metrics", stdin=scrape.text)
            self.assertEqual(server.stop(), 0)

    def test_dashboards_and_alerts_ask_for_what_is_there(self):
        """Once every command was served, and a rung climbed: histograms come with their first duration."""
        server = self.serve(self.use(Embedded({1: Lun(DISK)})))
        with nbdwire.Wire(server.port) as wire:
            wire.enter()
            for command in (nbdwire.READ, nbdwire.WRITE, nbdwire.FLUSH, nbdwire.TRIM, nbdwire.WRITE_ZEROES):
                payload = bytes(4096) if command == nbdwire.WRITE else b""
                length = 0 if command == nbdwire.FLUSH else 4096
                self.assertEqual(wire.ask(command, 0, length, payload=payload)[0], 0)
        clients.run(servers.gateway_command("ctl", "-a", server.admin_url(), "reset", "session", "array"))
        shown = workdir.fresh("scrape") / "metrics.txt"
        shown.write_text(metrics.Scrape(server.admin_port).text)
        clients.run(["/usr/bin/python3", DASHBOARDS, "--scrape", shown])

    def test_prometheus_scrapes_it(self):
        target = self.use(Embedded({1: Lun(DISK)}))
        server = self.serve(target)
        with metrics.Prometheus(f"127.0.0.1:{server.admin_port}") as prometheus:
            (labels, _), = prometheus.wait_for("nbdgw_export_up == 1", lambda series: len(series) == 1)
            self.assertEqual((labels["export"], labels["job"]), ("vol0", "nbdgw"))
            self.assertEqual(prometheus.query("up")[0][1], 1)
            clients.Fio(server.uri(), rw="write", bs="64k", size="8m").run()
            quantile = "histogram_quantile(0.5, nbdgw_nbd_request_duration_seconds_bucket{command='write'})"
            (_, median), = prometheus.wait_for(quantile, lambda series: series and series[0][1] > 0)
            self.assertLess(median, 5)
            target.kill()
            prometheus.wait_for("nbdgw_export_up == 0", lambda series: len(series) == 1)
        self.assertEqual(server.stop(), 0)
