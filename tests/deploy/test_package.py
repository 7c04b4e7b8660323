"""The Debian package: built from the release tree, looked through, installed, used, removed and purged."""
import os
import pathlib
import platform
import shutil
import subprocess
import unittest

import example_files
import program
from lib import debian_package, debian_root, servers, workdir

ROOT = servers.ROOT
BUILD = ROOT / "build/release"
TIMEOUT_S = 300
# Where packages of this Debian have their units.
UNITS = "/lib/systemd/system" if platform.freedesktop_os_release().get("VERSION_ID") == "12" else "/usr/lib/systemd/system"
LIMIT = 8 << 20  # bytes installed: a binary that was not stripped, or a file too many


def output(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True,
                          timeout=TIMEOUT_S).stdout


class PackageCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("cpack", "cmake"), ("dpkg-shlibdeps", "dpkg-dev")):
            program.need(tool, package)
        cls.deb = debian_package.built()
        cls.depends = debian_package.depends(cls.deb)


def units():
    folder = ROOT / "deploy/systemd"
    return sorted(path.name for path in folder.glob("*") if path.suffix in (".service", ".socket"))


class Contents(PackageCase):
    def test_name_and_fields(self):
        version = program.run("version").stdout.split()[-1]
        architecture = output("dpkg", "--print-architecture").strip()
        self.assertEqual(self.deb.name, f"nbdgw_{version}_{architecture}.deb")
        fields = dict(line.split(": ", 1) for line in output("dpkg-deb", "-f", self.deb).splitlines() if line[:1].strip())
        self.assertEqual(fields["Version"], version)
        self.assertLess(int(fields["Installed-Size"]), LIMIT >> 10)
        for library in (r"libc6 \(>=", r"libssl3(t64)? \(>=", r"libyaml-cpp0\.[78]", r"libnl-genl-3-200 \(>=", "systemd-standalone-sysusers"):
            self.assertRegex(fields["Depends"], library)
        self.assertIn("nbd-client", fields["Suggests"])
        changelog = ROOT / "deploy/debian/changelog"
        self.assertEqual(output("dpkg-parsechangelog", "-l", changelog, "-S", "Version").strip(), version)

    def test_lintian(self):
        program.need("lintian", "lintian")
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", str(self.deb)],
                              capture_output=True, text=True, timeout=TIMEOUT_S)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_files(self):
        listed = {}
        for line in output("dpkg-deb", "-c", self.deb).splitlines():
            mode, owner, _, _, _, path = line.split(None, 5)
            listed[path.removeprefix(".")] = mode
            self.assertEqual(owner, "root/root", path)
        pages = [f"/usr/share/man/man{page.suffix[1:]}/{page.name}.gz" for page in (ROOT / "deploy/man").iterdir()]
        examples = [f"/usr/share/doc/nbdgw/examples/{path.name}" for path in example_files.everything()]
        there = [*pages, *examples, *(f"{UNITS}/{unit}" for unit in units()), f"{UNITS}/nbd@.service.d/nbdgw.conf",
                 "/usr/share/bash-completion/completions/nbdgw", "/usr/lib/sysusers.d/nbdgw.conf",
                 "/usr/share/nbdgw/nbdgw.schema.json", "/usr/share/nbdgw/dashboards/grafana/overview.json",
                 "/usr/share/nbdgw/dashboards/prometheus/alerting.rules.yaml",
                 "/usr/share/nbdgw/dashboards/runbooks/NbdgwDown.md", "/usr/share/doc/nbdgw/copyright",
                 "/usr/share/doc/nbdgw/README.Debian", "/usr/share/doc/nbdgw/changelog.gz"]
        programs = {"/usr/bin/nbdgw"}
        if (ROOT / "deploy/attach/nbdgw-attach").exists():
            programs.add("/usr/lib/nbdgw/nbdgw-attach")
        self.assertEqual(set(there) - set(listed), set())
        for path, mode in listed.items():
            expected = "drwxr-xr-x" if path.endswith("/") else "-rwxr-xr-x" if path in programs else "-rw-r--r--"
            self.assertEqual(mode, expected, path)
        self.assertEqual(programs - set(listed), set())
        self.assertEqual([path for path in listed if path.startswith("/etc/") and path != "/etc/"], ["/etc/nbdgw/"])

    def test_no_name_of_where_it_was_built(self):
        unpacked = workdir.fresh("unpacked")
        output("dpkg-deb", "-R", self.deb, unpacked)
        for path in unpacked.rglob("*"):
            if path.is_file():
                named = str(ROOT).encode() in path.read_bytes()
                self.assertFalse(named, f"{path.relative_to(unpacked)} names {ROOT}")

    def test_the_same_again(self):
        again = debian_package.build(workdir.fresh("package"))
        self.assertEqual(again.read_bytes(), self.deb.read_bytes(), "two builds of one tree differ")

    def test_maintainer_scripts(self):
        program.need("shellcheck", "shellcheck")
        scripts = workdir.fresh("control")
        output("dpkg-deb", "-e", self.deb, scripts)
        for name in ("postinst", "prerm", "postrm"):
            text = (scripts / name).read_text()
            self.assertNotRegex(text, r"@\w+@", name)
            done = subprocess.run(["shellcheck", str(scripts / name)], capture_output=True, text=True)
            self.assertEqual(done.stdout, "", name)


class Installed(PackageCase):
    """In a Debian of its own."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        program.need("debootstrap", "debootstrap")
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can install packages")

    def setUp(self):
        directory = debian_root.CACHE / f"test-{os.getpid()}"
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.root = debian_root.fresh(self.depends, directory)
        shutil.copy(self.deb, self.root.path / "tmp")
        self.before = self.root.files()

    def install(self):
        return self.root.run("dpkg", "-i", f"/tmp/{self.deb.name}")

    def assert_as_before(self):
        after = self.root.files()
        self.assertEqual(sorted(set(after) ^ set(self.before)), [])
        self.assertEqual([path for path, facts in after.items() if facts != self.before[path]], [])

    def test_life(self):
        self.install()
        self.assertEqual(self.root.run("dpkg", "--audit"), "")
        self.assertEqual(self.root.run("nbdgw", "version"), program.run("version").stdout)
        self.assertRegex(self.root.run("getent", "passwd", "nbdgw"), r":/nonexistent:/usr/sbin/nologin$")
        self.assertEqual(self.root.run("stat", "-c", "%A %U %G", "/etc/nbdgw"), "drwxr-x--- root nbdgw\n")
        for unit in units():
            self.assertIn(self.root.run("systemctl", "is-enabled", unit, expect=None).split()[-1], ("disabled", "static"))
        self.check_examples()
        self.check_pages()
        self.assertEqual(self.install().count("warning"), 0)  # again, as an upgrade does
        self.assertEqual(self.root.run("dpkg", "--verify", "nbdgw"), "")
        self.root.run("dpkg", "--remove", "nbdgw")
        self.assertFalse((self.root.path / "usr/bin/nbdgw").exists())
        self.root.run("dpkg", "--purge", "nbdgw")
        self.assert_as_before()
        self.assertIn("nbdgw", self.root.run("getent", "passwd", "nbdgw"))

    def check_examples(self):
        """As the README has it: copied to /etc/nbdgw, the secrets beside them, and read by the gateway's user."""
        found = sorted((self.root.path / "usr/share/doc/nbdgw/examples").glob("*.yaml"))
        self.assertEqual([path.name for path in found], sorted(path.name for path in example_files.everything()))
        for path in found:
            folder = self.root.path / "etc/nbdgw" / path.stem
            folder.mkdir()
            config = pathlib.Path(shutil.copy(path, folder))
            example_files.provide(config)
            inside = f"/etc/nbdgw/{path.stem}"
            self.root.run("chown", "-R", "root:nbdgw", inside)
            said = self.root.run("setpriv", "--reuid=nbdgw", "--regid=nbdgw", "--clear-groups", "nbdgw", "check", "-c",
                                 f"{inside}/{path.name}")
            self.assertIn(": good\n", said)
            shutil.rmtree(folder)

    def check_pages(self):
        for page in (ROOT / "deploy/man").iterdir():
            inside = self.root.path / f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz"
            self.assertEqual(output("zcat", inside), page.read_text())

    def test_what_the_administrator_wrote_stays(self):
        self.install()
        self.root.run("chmod", "0700", "/etc/nbdgw")
        self.root.run("dpkg-statoverride", "--add", "root", "root", "0700", "/etc/nbdgw")
        config = self.root.put("/etc/nbdgw/nbdgw.yaml", "listen: {}\n", 0o640)
        self.install()
        self.assertEqual(self.root.run("stat", "-c", "%a", "/etc/nbdgw"), "700\n")
        self.root.run("dpkg", "--purge", "nbdgw")
        self.assertEqual(config.read_text(), "listen: {}\n")
        shutil.rmtree(config.parent)
        self.root.run("dpkg-statoverride", "--remove", "/etc/nbdgw")
        self.assert_as_before()

    def test_what_systemd_is_asked_for(self):
        """The scripts think that systemd runs; what they ask of it is only noted."""
        enabled = [unit.replace("@.", "@nbd0.") for unit in units() if "[Install]" in
                   (ROOT / "deploy/systemd" / unit).read_text()]
        if not enabled:
            self.skipTest("there are no units")
        self.install()
        self.root.run("systemctl", "enable", *enabled)
        (self.root.path / "run/systemd/system").mkdir(parents=True)
        noted = self.root.put("/tmp/noted", "", 0o666)
        self.root.put("/usr/local/bin/systemctl", '#!/bin/sh\necho "$*" >>/tmp/noted\n', 0o755)
        (self.root.path / "usr/sbin/policy-rc.d").unlink()
        self.assertIn("systemctl restart nbdgw", self.install())
        self.assertEqual(noted.read_text(), "--system daemon-reload\n--quiet is-active nbdgw.service\n")
        noted.write_text("")
        self.root.run("dpkg", "--remove", "nbdgw")
        instances = [f"stop {unit.replace('@.', '@*.')}" for unit in units() if "@." in unit]
        plain = ["stop " + " ".join(unit for unit in units() if "@." not in unit)]
        self.assertEqual(noted.read_text().splitlines(), [*instances, *plain, "--system daemon-reload"])
        self.root.run("dpkg", "--purge", "nbdgw")
        left = [path for path in set(self.root.files()) - set(self.before) if path.startswith("etc/systemd/")]
        self.assertEqual(left, [], "links of units that were enabled")

    def test_units(self):
        if not units():
            self.skipTest("there are no units")
        self.install()
        names = [unit.replace("@.", "@nbd0.") for unit in units()]
        verified = self.root.run("systemd-analyze", "verify", "--man=no", *names, expect=None)
        self.assertEqual([line for line in verified.splitlines() if "nbdgw" in line], [])
