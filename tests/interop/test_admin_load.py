"""Everything that the admin API has, all at once, while clients work: what the sanitizers look at, and what no client
may notice."""
import collections
import threading
import time
import traceback

from admin_api import CONTRACT
from base import gateway_only
from lib import admin, gateway, metrics
from lib.targets import Embedded, Lun
from recovery import FIO_JOBS, LUN_SIZE, RecoveryCase

SECONDS = 5
SCRAPERS = 2
FOLLOW_S = 2  # how long a question for events waits
SETTLED_S = 0.5
STEP_S = 60  # for one thing to be done, with a sanitizer on a busy machine


class Crowd:
    """Threads that do one thing each, again and again; the first thing that is wrong ends them all."""

    def __init__(self):
        self.done = collections.Counter()  # rounds, by name
        self.failure = None
        self._ending = threading.Event()
        self._threads = []

    def add(self, step):
        name = f"{step.__name__} {len(self._threads)}"
        self._threads.append(threading.Thread(target=self._run, args=(name, step)))

    def _run(self, name, step):
        try:
            while not self._ending.is_set():
                step()
                self.done[name] += 1
        except Exception:
            self.failure = self.failure or f"{name}, round {self.done[name] + 1}:\n{traceback.format_exc()}"
            self._ending.set()

    def work(self, seconds):
        """All at once, for so long; each ends the round that it is in."""
        for thread in self._threads:
            thread.start()
        self._ending.wait(seconds)
        self._ending.set()
        for thread in self._threads:
            thread.join(STEP_S)
            if thread.is_alive():
                self.failure = self.failure or f"{thread.name} hangs"


@gateway_only
class AdminUnderLoad(RecoveryCase):
    """Two shards with a target each; the load is on vol0, vol1 has no clients."""

    def setUp(self):
        near, far = Embedded({1: Lun(LUN_SIZE)}), Embedded({1: Lun(LUN_SIZE)})
        far.iqn += "-far"
        self.server = self.use(gateway.Gateway(
            {"near": self.use(near), "far": self.use(far)}, {"vol0": ("near", 1), "vol1": ("far", 1)}, admin="http",
            extra={"workers": 2, "limits": {"memory": "128MiB"}}))
        self.port = self.server.admin_port
        self.ready()
        self.last_event = 0
        self.events = 0
        self.totals = {}  # by thread: what the counters were

    def ready(self):
        self.server.child.wait_until(lambda: admin.get(self.port, "/readyz").status == 200, "ready", STEP_S)

    def test_all_at_once(self):
        crowd = Crowd()
        for step in (*[self.scrape] * SCRAPERS, self.read, self.follow, self.reload, self.drain, self.log_level,
                     self.reset_lun, self.export_state):
            crowd.add(step)
        with self.under_load(self.server) as load:
            # A client that comes while an operator drains is turned away, as it should be; and fio takes its time. It
            # also comes once to ask for the size, and again to stay.
            clients = len(load.handles) + FIO_JOBS
            for _ in range(2):
                self.server.child.wait_until(lambda: self.attached() == clients, "attached to by the load", STEP_S)
                time.sleep(SETTLED_S)
            crowd.work(SECONDS)
            if crowd.failure:
                self.fail(crowd.failure)
        print(f"  rounds: {', '.join(f'{name} {count}' for name, count in sorted(crowd.done.items()))}", flush=True)
        self.assertEqual(len(crowd.done), SCRAPERS + 7, crowd.done)
        self.ready()
        self.assertGreater(self.events, 0)
        self.assertEqual(metrics.Scrape(self.port)("nbdgw_iscsi_session_losses_total", session="near"), 0)
        self.server.stop()  # with status 0: what a sanitizer has found ends the program with another one

    def attached(self):
        return metrics.Scrape(self.port)("nbdgw_nbd_connections", export="vol0")

    # ---- what is done, each by a thread of its own

    def call(self, name, body=None, /, good=(200, 202), **parameters):
        """An operation of the contract: its answer is one of those that the contract has, and of these."""
        operation = CONTRACT.operation(name)
        answer = admin.ask(self.port, operation.method, operation.target(**parameters), body,
                           "application/json" if operation.method == "POST" else None, timeout_s=STEP_S)
        value = operation.check(answer)
        self.assertIn(answer.status, good, f"{operation}: {answer.body}")
        return value

    def scrape(self):
        now = metrics.Scrape(self.port)
        before = self.totals.setdefault(threading.get_ident(), {})
        counters = {series: value for series, value in now.values.items() if series[0].endswith("_total")}
        less = {series for series, value in before.items() if counters.get(series, -1) < value}
        self.assertEqual(less, set(), "counters that have gone or have become less")
        self.assertGreater(now("nbdgw_nbd_connections", export="vol0"), 0)
        self.totals[threading.get_ident()] = counters

    def read(self):
        """Every object that there is."""
        where = {"name": "vol0", "target": "near", "cid": 0, "wait": 0, "verbose": ""}
        for operation in CONTRACT.operations():
            if operation.method != "GET" or "faults" in operation.item["tags"] or operation.path.endswith("/{id}"):
                continue
            # /readyz says no while an operator drains.
            self.call(operation.name, good=(200, 503) if operation.path == "/readyz" else (200,), **where)
        for client in self.call("listClients")["clients"]:
            self.call("getClient", good=(200, 404), id=client["id"])
        for each in self.call("listOperations")["operations"]:
            self.call("getOperation", good=(200, 404), id=each["id"])

    def follow(self):
        answer = self.call("listEvents", since=self.last_event, wait=FOLLOW_S)
        self.assertEqual([each["sequence"] for each in answer["events"]],
                         list(range(self.last_event + 1, answer["last"] + 1)))
        self.last_event = answer["last"]
        self.events += len(answer["events"])

    def reload(self):
        """Of the same file."""
        for dry_run in (True, False):
            report = self.call("reloadConfiguration", {"dry_run": dry_run}, good=(200,))
            self.assertEqual((report["changes"], report["needs_restart"]), ([], []))

    def drain(self):
        self.call("drain", {}, good=(200,))
        self.assertTrue(self.call("getStatus")["draining"])
        self.call("undrain", {}, good=(200,))

    def log_level(self):
        self.call("setLog", {"level": "debug", "for": "1m"}, good=(200,))
        self.call("setLog", {"level": "info"}, good=(200,))

    def reset_lun(self):
        """The commands that it ends are sent again; nobody sees any of it but as a pause."""
        begun = self.call("resetLun", {"lun": 1}, good=(202,), target="near")
        end = time.monotonic() + STEP_S
        while (operation := self.call("getOperation", id=begun["id"]))["state"] == "running":
            self.assertLess(time.monotonic(), end, operation)
        self.assertEqual((operation["state"], operation["outcome"]), ("succeeded", "success"), operation)

    def export_state(self):
        for state in ("drain", "maint", "ready"):
            self.call("setExportState", {"state": state}, name="vol1")
