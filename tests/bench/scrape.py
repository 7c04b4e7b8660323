#!/usr/bin/python3
"""What being watched costs: CPU of the gateway per request at 4 KiB and depth 32 while it serves many exports, without
and with scrapes of /metrics, in turn (A B A B); what one scrape costs a gateway at rest; and how long answers take under
load. Against the goals that are written beside each number, for a person to read; nothing passes or fails by it."""
import argparse
import http.client
import pathlib
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib import admin, clients, counters, gateway, process, targets, workdir  # noqa: E402

MIB = 1 << 20
LUN_SIZE = 4 * MIB
DEPTH = 32
START_S = 60


def arguments():
    p = argparse.ArgumentParser(description="Measures what scrapes of /metrics cost.")
    p.add_argument("--exports", type=int, default=64, help="exports of the gateway (default: %(default)s)")
    p.add_argument("--targets", type=int, default=8, help="targets that they are spread over (default: %(default)s)")
    p.add_argument("--loaded", type=int, default=1, help="exports that share the depth of 32 (default: %(default)s)")
    p.add_argument("--hertz", type=float, default=10, help="scrapes in a second (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=8, help="pairs of runs (default: %(default)s)")
    p.add_argument("--seconds", type=float, default=3, help="of each run (default: %(default)s)")
    return p.parse_args()


class Scraper:
    """Scrapes at a steady rate, over one connection as Prometheus does. Nothing of it is the gateway's CPU."""

    def __init__(self, port, hertz):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.period = 1 / hertz
        self.milliseconds = []
        self.bytes = 0
        self.failure = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def once(self):
        begin = time.monotonic()
        self.connection.request("GET", "/metrics")
        answer = self.connection.getresponse()
        self.bytes = len(answer.read())
        self.milliseconds.append((time.monotonic() - begin) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"/metrics answers {answer.status}")

    def _run(self):
        due = time.monotonic()
        try:
            while not self.ending.wait(max(0, due - time.monotonic())):
                due += self.period
                self.once()
        except Exception as failure:  # for the thread that waits for this one
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        if self.failure:
            raise self.failure


def loaded_run(server, loaded, seconds):
    """CPU of the gateway, in us per request and as a part of one core."""
    before, begin = counters.cpu_ns(server.pid), time.monotonic()
    running = [clients.Fio(server.uri(name), rw="randread", bs="4k", iodepth=max(1, DEPTH // len(loaded)),
                           time_based=True, runtime=seconds, size="100%", randrepeat=0, norandommap=True).start()
               for name in loaded]
    requests = sum(fio.finish()["read"]["total_ios"] for fio in running)
    cpu = counters.cpu_ns(server.pid) - before
    return cpu / 1e3 / requests, cpu / 1e9 / (time.monotonic() - begin)


def cpu_ms_per_scrape(server, scraper, count):
    scraper.once()  # the first one writes everything
    before = counters.cpu_ns(server.pid)
    for _ in range(count):
        scraper.once()
    return (counters.cpu_ns(server.pid) - before) / 1e6 / count


def served(options):
    """Targets with their LUNs, and a gateway that has all of them online."""
    numbers = range(options.exports)
    directory = workdir.in_memory("scrape")
    arrays = {}
    for t in range(options.targets):
        luns = {n // options.targets + 1: targets.Lun(LUN_SIZE, path=directory / f"lun{n}.img")
                for n in numbers if n % options.targets == t}
        for lun in luns.values():
            workdir.random_file(lun.path, lun.size)
        arrays[f"array{t}"] = targets.Embedded(luns)
        arrays[f"array{t}"].iqn += f"-{t}"
    exports = {f"vol{n}": (f"array{n % options.targets}", n // options.targets + 1) for n in numbers}
    for array in arrays.values():
        array.start()
    server = gateway.Gateway(arrays, exports, admin="http").start()
    server.child.wait_until(lambda: admin.get(server.admin_port, "/readyz").status == 200, "ready", START_S)
    return server


def compare(server, options):
    loaded = [f"vol{n}" for n in range(options.loaded)]
    loaded_run(server, loaded, options.seconds)  # first touches
    without, scraped, times = [], [], []
    for _ in range(options.rounds):
        without.append(loaded_run(server, loaded, options.seconds))
        with Scraper(server.admin_port, options.hertz) as scraper:
            scraped.append(loaded_run(server, loaded, options.seconds))
        times += scraper.milliseconds
    return without, scraped, times


def main():
    options = arguments()
    try:
        server = served(options)
        scraper = Scraper(server.admin_port, options.hertz)
        at_rest = cpu_ms_per_scrape(server, scraper, 200)
        without, scraped, times = compare(server, options)
        server.stop()
    finally:
        process.kill_all()
    ratio = statistics.median(b / a for (a, _), (b, _) in zip(without, scraped))
    request = statistics.median(a for a, _ in without)
    share = at_rest / 1e3 * options.hertz / statistics.median(cores for _, cores in without)
    p99 = statistics.quantiles(times, n=100)[98]
    print(f"{options.exports} exports on {options.targets} target(s), a page of {scraper.bytes:,} bytes")
    print(f"CPU of a scrape at rest                    {at_rest:7.3f} ms")
    print(f"CPU of a request, not scraped              {request:7.3f} us; {options.hertz:g} scrapes at rest are "
          f"{100 * share:.2f} % of what a second of that load takes")
    print(f"CPU of a request, scraped at {options.hertz:g} Hz         {statistics.median(b for b, _ in scraped):7.3f} us, "
          f"median of the ratios {100 * (ratio - 1):+.2f} %; goal below 1 %")
    print(f"answer to a scrape under load, {len(times)} of them  median {statistics.median(times):.1f} ms, "
          f"p99 {p99:.1f} ms; goal 20 ms")


if __name__ == "__main__":
    main()
