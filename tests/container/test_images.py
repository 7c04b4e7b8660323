"""The two images: what they say of themselves, how large they are, and that what is in them works as a container runs it."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest
import urllib.error
import urllib.request

import nbd

import images
from lib import sockets, targets, workdir
from lib.process import Child

MIB = 1 << 20
GATEWAY_MOST = 60 * MIB  # above the base
ATTACH_MOST = 60 * MIB
UID = 10809
TOKEN = "0123456789abcdef0123456789abcdef"
CONTROL = "--address=unix:///run/nbdgw/admin.sock"


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        images.need()
        cls.store = images.Store()
        cls.addClassCleanup(cls.store.close)
        cls.base = images.Image(cls.store, images.BASE)
        cls.gateway = cls.store.image("gateway")
        cls.attach = cls.store.image("attach")

    def settings(self, **port):
        """A folder for /etc/nbdgw; the gateway listens on a port of 127.0.0.1, too."""
        folder = workdir.fresh("etc")
        config = {"listen": {"nbd": ["unix:///run/nbdgw/nbd.sock"] + [f"tcp://127.0.0.1:{n}" for n in port.values()],
                             "admin": [f"http://127.0.0.1:{self.admin}", "unix:///run/nbdgw/admin.sock"]},
                  "admin": {"token_file": "secrets/admin-token"},
                  "initiator": {"name": "iqn.2026-11.com.example:container"},
                  "targets": [{"name": "array", "iqn": self.target.iqn, "portals": [self.target.portal]}],
                  "exports": [{"name": "data", "target": "array", "lun": 1}]}
        (folder / "nbdgw.yaml").write_text(json.dumps(config))
        secret = folder / "secrets" / "admin-token"
        secret.parent.mkdir()
        secret.write_text(TOKEN + "\n")
        secret.chmod(0o440)
        os.chown(secret, 0, UID)
        for path in (folder, secret.parent):
            path.chmod(0o755)
        return folder

    def run_in(self, image, *words, status=0, **how):
        done = subprocess.run(image.command(words, **how), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def with_target(self):
        self.target = targets.Embedded({1: targets.Lun(64 * MIB)})
        self.target.start()
        self.addCleanup(self.target.stop)
        self.admin = sockets.free_port()

    def get(self, path, token=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def test_what_is_sent_is_enough_to_build(self):
        """CMake is content with what .dockerignore lets through, and nothing is missing for the program."""
        tree = images.context(workdir.fresh("tree") / "src")
        images.run("cmake", "--preset", "release", "-D", "NBDGW_TESTS=OFF", "-D", "NBDGW_UNITY=OFF",
                   cwd=tree)  # in batches, the sources would not be seen
        inputs = images.run("ninja", "-C", "build/release", "-t", "inputs", "nbdgw", cwd=tree).split()
        sources = [path for path in inputs if path.startswith(f"{tree}/") and f"{tree}/build/" not in path]
        self.assertGreater(len(sources), 100)
        self.assertEqual([path for path in sources if not os.path.exists(path)], [])
        shutil.rmtree(tree)

    def test_the_stages_are_those_that_are_known_here(self):
        stages = dict(images.stages())
        self.assertEqual(list(stages), ["build", "gateway", "attach"])
        self.assertTrue(all(lines[0].startswith("FROM debian:bookworm-slim ") for lines in stages.values()))
        self.assertIn("/out/usr/bin/nbdgw", "\n".join(stages["build"]))
        self.assertIn("COPY --from=build /out/usr/bin/nbdgw /usr/bin/nbdgw", stages["gateway"])

    def test_what_the_images_say(self):
        config = self.gateway.config
        self.assertEqual((config["User"], config["Entrypoint"], config["Cmd"]),
                         (f"{UID}:{UID}", ["/usr/bin/nbdgw"], ["serve", "-c", "/etc/nbdgw/nbdgw.yaml"]))
        self.assertEqual({port.split("/")[0] for port in config["ExposedPorts"]}, {"10809", "9810"})
        self.assertEqual(self.attach.config["Entrypoint"], ["/usr/bin/nbdgw-attach"])

    def test_sizes(self):
        for image, name, most in ((self.gateway, "gateway", GATEWAY_MOST), (self.attach, "attach", ATTACH_MOST)):
            above = image.above(self.base)
            print(f"\n  {name}: {above / MIB:.1f} MiB above its base", end=" ", flush=True)
            self.assertGreater(above, 0)
            self.assertLess(above, most)
        self.assertFalse(list((self.gateway.root / "var/lib/apt/lists").iterdir()))

    def test_nobody_can_write_to_the_gateway(self):
        """Neither may its user write anywhere but where it shall."""
        for path in ("/usr/bin/nbdgw", "/etc/nbdgw"):
            self.assertEqual((self.gateway.root / path[1:]).stat().st_uid, 0)
        run = (self.gateway.root / "run/nbdgw").stat()
        self.assertEqual((run.st_uid, run.st_gid, run.st_mode & 0o777), (UID, UID, 0o750))

    def test_version_and_check(self):
        self.assertIn("nbdgw 0.1.0", self.run_in(self.gateway, "/usr/bin/nbdgw", "version"))
        self.with_target()
        settings = self.settings()
        mounts = [(settings, "/etc/nbdgw")]
        check = ["/usr/bin/nbdgw", "check", "-c", "/etc/nbdgw/nbdgw.yaml"]
        self.assertIn("nbdgw.yaml: good", self.run_in(self.gateway, *check, mounts=mounts))
        (settings / "secrets/admin-token").unlink()
        said = self.run_in(self.gateway, *check, mounts=mounts, status=2)
        self.assertIn("admin.token_file", said)

    def test_serves_as_its_user_on_a_root_that_is_read_only(self):
        self.with_target()
        port = sockets.free_port()
        words = self.gateway.config["Entrypoint"] + self.gateway.config["Cmd"]
        server = Child("container", self.gateway.command(words, mounts=[(self.settings(nbd=port), "/etc/nbdgw")],
                                                         tmpfs=["/run/nbdgw"]))
        server.start()
        self.addCleanup(server.kill)
        server.wait_listening(self.admin)
        server.wait_until(lambda: self.get("/readyz") == 200, "ready")
        self.assertEqual((self.get("/startupz"), self.get("/livez")), (200, 200))
        self.assertEqual((self.get("/metrics"), self.get("/metrics", TOKEN)), (401, 200))
        status = dict(line.split(":\t", 1) for line in
                      pathlib.Path(f"/proc/{server.pid}/status").read_text().splitlines())
        self.assertEqual((status["Uid"].split()[1], status["CapEff"], status["NoNewPrivs"]),
                         (str(UID), "0" * 16, "1"))
        root = [line for line in pathlib.Path(f"/proc/{server.pid}/mountinfo").read_text().splitlines()
                if line.split()[4] == "/"]
        self.assertEqual(root[0].split()[5].split(",")[0], "ro")
        handle = nbd.NBD()
        handle.set_export_name("data")
        handle.connect_uri(f"nbd://127.0.0.1:{port}/data")
        handle.pwrite(b"container " * 512, 4096)
        handle.flush()
        self.assertEqual(bytes(handle.pread(5120, 4096)), b"container " * 512)
        # As preStop does it: another process in the same container, which waits until the client has gone.
        drain = subprocess.Popen(["nsenter", f"--mount=/proc/{server.pid}/ns/mnt", f"--root=/proc/{server.pid}/root",
                                  f"--wd=/proc/{server.pid}/root", f"--setuid={UID}", f"--setgid={UID}",
                                  "/usr/bin/nbdgw", "ctl", CONTROL, "drain", "--until-idle=30s"])
        server.wait_until(lambda: self.get("/readyz") != 200, "draining")
        self.assertIsNone(drain.poll())
        handle.shutdown()
        self.assertEqual(drain.wait(30), 0)
        self.assertEqual(server.stop(signal.SIGTERM), 0)

    def test_attach_says_what_is_missing(self):
        run = {"privileged": True, "tmpfs": ["/run", "/tmp"]}
        self.assertIn("NBDGW_READY_FILE", self.run_in(self.attach, "/usr/bin/nbdgw-attach", "--help", **run))
        said = self.run_in(self.attach, "/usr/bin/nbdgw-attach", status=2, **run)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn("NBDGW_EXPORT is not set", said)
        # There is no /sys in here, so no module; everything else that it looks for is there.
        said = self.run_in(self.attach, "env", "NBDGW_EXPORT=data", "NBDGW_MOUNT=/tmp/data", "NBDGW_MKFS=if-empty",
                           "/usr/bin/nbdgw-attach", status=1, **run)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn("module nbd is not loaded", said)

    def test_attach_has_its_programs(self):
        for program in ("nbdgw version", "nbd-client -V", "mkfs.ext4 -V", "blkid --version", "mount --version", "umount --version",
                        "test -e /usr/bin/nbdgw-attach", "mountpoint --version"):
            self.run_in(self.attach, *program.split(), privileged=True)
