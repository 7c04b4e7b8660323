"""What the tests of the kernel's own NBD client share: one guest for a class, devices attached and looked at in it."""
import json

import image
from guest import COMMAND_TIMEOUT_S, HOST, Guest
from lib import api, case

MIB = 1 << 20
DEVICE = "/dev/nbd0"
FIO_WAS_ENDED = 128  # its exit status after a signal, if nothing was wrong until then

READS_DONE = f"awk '{{ print $1 }}' /sys/block/{DEVICE[5:]}/stat"


def fio(device=DEVICE, **options):
    """Command line of fio in the guest: it writes, reads back and compares; an I/O error or a difference ends it."""
    settings = {"rw": "randwrite", "bs": "4k", "iodepth": 8, "size": "8m", "verify": "crc32c", "verify_fatal": 1,
                **options}
    words = [f"--{name}={value}" for name, value in settings.items()]
    return f"fio --name=load --filename={device} --ioengine=libaio --direct=1 --output-format=json {' '.join(words)}"


def begin_load(guest, **options):
    """A fio that goes on until end_load()."""
    command = fio(time_based=1, runtime=COMMAND_TIMEOUT_S, **options)
    guest.check(f"{READS_DONE} > /run/load.reads")
    return guest.begin(f"{command} & echo $! > /run/load.pid; wait $! || [ $? = {FIO_WAS_ENDED} ]")


def end_load(guest, load):
    """What it has come to, by its JSON: up to here it was at work. It reads back only when it has written all once."""
    if not load.done():
        guest.wait_until(f"[ $({READS_DONE}) -gt $(($(cat /run/load.reads) + 10)) ]", "reading back", timeout_s=60)
        guest.check("kill -TERM $(cat /run/load.pid)")
    result = result_of(load)
    if result["jobs"][0]["job_runtime"] >= COMMAND_TIMEOUT_S * 1000:
        raise load.error("it had ended before it was told to")
    return result


def result_of(load):
    """What fio has come to, by its JSON; notes may come before."""
    output = load.finish()
    return json.loads(output[output.index("{"):])


def longest_s(result):
    """The longest request of all jobs."""
    return max(job[way]["clat_ns"]["max"] for job in result["jobs"] for way in ("read", "write")) / 1e9


class KernelCase(api.Api, case.Case):
    """Tests of one gateway and one guest, which are started once. Subclasses say in front of what, by make_server()."""

    suite = None  # the Debian whose kernel it is; None: this machine's

    @classmethod
    def make_server(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest(system=cls.suite and image.build(cls.suite)))
        cls.server = cls.enterClassContext(cls.make_server())
        cls.port = cls.server.admin_port
        cls.guest.check("modprobe nbd && modprobe xfs")
        print(f"     the guest was there after {cls.guest.boot_s:.1f} s", flush=True)

    def tearDown(self):
        """The next test finds no device attached, whatever this one came to."""
        self.guest.run("umount /mnt; for d in nbd0 nbd1; do test -e /sys/block/$d/pid && nbd-client -d /dev/$d; done")

    def attach(self, export="vol0", device=DEVICE, connections=1):
        self.guest.check(f"nbd-client -N {export} -C {connections} {HOST} {self.server.port} {device}")
        self.guest.wait_until(f"[ $(cat /sys/block/{device[5:]}/size) != 0 ]", f"{device} has its size")

    def detach(self, device=DEVICE):
        self.guest.check(f"nbd-client -d {device}")
        self.assertEqual(self.queue("size", device), "0")

    def queue(self, name, device=DEVICE):
        """One line of /sys/block/NAME."""
        return self.guest.check(f"cat /sys/block/{device[5:]}/{name}").strip()

    def clients(self, export="vol0"):
        return [client for client in self.get("/v1/clients")["clients"] if client["export"] == export]

    def gone(self, export="vol0"):
        """Waits until the gateway has no client of the export any more."""
        self.eventually(lambda: not self.clients(export), f"rid of the clients of {export}")

    def flowing(self, export="vol0", requests=50):
        """Waits until the export has taken so many requests more."""
        def taken():
            return sum(client["counters"]["requests"] for client in self.clients(export))
        start = taken()
        self.eventually(lambda: taken() >= start + requests, "under load")

    def fio(self, **options):
        """Runs fio to its end."""
        return self.finished(self.guest.begin(fio(**options)))

    def finished(self, load):
        return self.checked(result_of(load))

    def checked(self, result):
        """That of a fio that has seen no error, and has read back what it wrote."""
        for job in result["jobs"]:
            self.assertEqual(job["error"], 0)
            self.assertGreater(job["read"]["total_ios"], 0, "nothing was read back")
        return result
