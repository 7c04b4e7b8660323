"""The units: how much of the system the service could reach, and that they say what the rest of the project needs.
That systemd takes every line of them is seen where the package is installed (test_package.py)."""
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy/systemd"
MOST_EXPOSED = 2.0


def exposure(unit):
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
                          capture_output=True, text=True, check=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    return float(found.group(1)), done.stdout


class Units(unittest.TestCase):
    def test_exposure(self):
        level, said = exposure(UNITS / "nbdgw.service")
        self.assertLessEqual(level, MOST_EXPOSED, said)

    def test_exposure_is_measured(self):
        """A unit without the sandbox is not taken for a good one."""
        with tempfile.TemporaryDirectory() as folder:
            bare = pathlib.Path(folder) / "bare.service"
            bare.write_text("[Service]\nExecStart=/bin/true\n")
            self.assertGreater(exposure(bare)[0], MOST_EXPOSED)

    def test_sockets_have_the_names_that_the_example_takes(self):
        example = (ROOT / "deploy/examples/systemd-sockets.yaml").read_text()
        for unit in UNITS.glob("*.socket"):
            name = re.search(r"^FileDescriptorName=(\S+)$", unit.read_text(), re.M).group(1)
            self.assertIn(f"systemd:{name}", example, unit.name)

    def test_the_store_has_room_for_all_clients(self):
        """And one more, for what they were doing. The program hears of the store by the environment."""
        text = (UNITS / "nbdgw.service").read_text()
        places = int(re.search(r"^FileDescriptorStoreMax=(\d+)$", text, re.M).group(1))
        self.assertIn(f"Environment=FDSTORE={places}\n", text)
        most = re.search(r"connections = (\d+);  // NBD clients", (ROOT / "config/model.hpp").read_text()).group(1)
        self.assertEqual(places, int(most) + 1)

    def test_time_to_stop_is_longer_than_the_gateway_takes(self):
        """Clients have 10 s, the logouts 20 s; killed before that, sessions would be left to the targets' timers."""
        limit = re.search(r"^TimeoutStopSec=(\d+)s$", (UNITS / "nbdgw.service").read_text(), re.M)
        self.assertGreater(int(limit.group(1)), 30)
