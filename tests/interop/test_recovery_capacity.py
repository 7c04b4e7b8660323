"""LUNs that grow while they are in use, and say nothing."""
import datetime

import nbd

from base import MIB, InteropCase, gateway_only
from lib import admin, gateway
from lib.bystander import Bystander
from lib.targets import Embedded, Lun

SIZE = 32 * MIB
LARGER = 33 * MIB
LUNS = range(1, 13)
# Each about once a minute, so one of them every 3.75 to 6.25 s.
PAUSE_S = 3.75
THREE_S = 3 * 6.25 + 3
UNNOTICED_S = 1.5


@gateway_only
class Grown(InteropCase):
    def test_each_is_noticed_in_its_turn_while_requests_go_on(self):
        target = self.use(Embedded({number: Lun(SIZE) for number in LUNS}, control=True))
        server = self.use(gateway.Gateway({"array": target}, {f"vol{number}": ("array", number) for number in LUNS},
                                          connections=2, admin="http"))
        exports = lambda: admin.get(server.admin_port, "/v1/exports").json()["exports"]
        server.child.wait_until(lambda: all(each["state"] == "online" for each in exports()), "online with all")
        target.faults.post("capacity", blocks=LARGER // 512)
        beside = self.use(Bystander(server.uri("vol1")))

        def grown():
            events = admin.get(server.admin_port, "/v1/events").json()["events"]
            return [each for each in events if each["kind"] == "lun_grown"]
        server.child.wait_until(lambda: len(grown()) >= 3, "telling of three LUNs that they grew", THREE_S)
        told = grown()
        at = [datetime.datetime.fromisoformat(each["at"]) for each in told]
        self.assertEqual(len({each["export"] for each in told}), len(told), "one was told twice")
        for earlier, later in zip(at, at[1:]):
            self.assertGreater((later - earlier).total_seconds(), PAUSE_S - 0.5, "two at a time")
        beside.judge(self, UNNOTICED_S)
        sizes = {each["name"]: each["size_bytes"] for each in exports()}
        for event in told:
            self.assertIn(f"it grew from {SIZE} to {LARGER} bytes", event["cause"])
            self.assertEqual(sizes[event["export"]], LARGER)
        self.assertIn(SIZE, sizes.values(), "all of them at once")
        client = nbd.NBD()
        client.connect_uri(server.uri(told[0]["export"]))
        self.assertEqual(client.get_size(), LARGER)
        client.shutdown()
        server.stop()
