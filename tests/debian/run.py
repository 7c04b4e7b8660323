#!/usr/bin/python3
"""The other Debian: on Debian 12 a fresh Debian 13, and the other way round. mmdebstrap makes a root; in it
deploy/quickstart.sh installs the packages, builds and copies its data; then come the unit tests, and the Debian
package, which is installed into a second root. The last line counts.

NBDGW_DEBIAN_MIRROR: where packages come from. NBDGW_KEEP: keeps the roots (after a failure they are kept anyway).
CI=true: a missing tool is a failure."""
import argparse
import fcntl
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE.parent)]

from lib import debian_root, servers  # noqa: E402

CACHE = servers.ROOT / "build/debian"
TREE = "/src"  # inside. Always the same, so that ccache knows again what it compiled
MAX_AGE_S = 24 * 3600  # of what is kept of a Debian; then it is fetched anew, for the updates of its packages
STEP_TIMEOUT_S = 3600
UNIT_TIMEOUT_S = 600
TOOLS = ["mmdebstrap", "git", "unshare", "setpriv"]
# Nobody reads in a root, and none has to survive a power cut.
MMDEBSTRAP = ["mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io",
              *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
              '--aptopt=Acquire::Languages "none"']
# Mounts and processes have namespaces of their own: whatever happens, both are gone with the first process inside. That
# is the shell, and not what is to be run, as the kernel keeps signals from the first process of a namespace. /proc/sys is
# this machine's: a package that is installed inside must not change it.
INSIDE = """set -eu
mount -t proc proc "$1/proc"
mount --bind -o ro "$1/proc/sys" "$1/proc/sys"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t tmpfs tmpfs "$1/dev/shm"
mount --bind "$2" "$1/root/.cache/ccache"
mount --bind "$3" "$1/var/cache/apt/archives"
root=$1
folder=$4
shift 4
chroot "$root" sh -c 'cd "$0" && exec "$@"' "$folder" "$@" || exit $?
"""
# Compiling takes what processor time others leave; what is tested does not.
GIVING_WAY = ["nice", "-n", "19"]
DOCTEST = re.compile(r"\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped")


class Failed(Exception):
    """The text says what, and the end of what it printed."""


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, name, start, passed=0, failed=0, skipped=0, said=""):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped
        print(f"{'FAIL' if failed else 'ok':<4} {name} ({time.monotonic() - start:.1f} s)", flush=True)
        if failed:
            print(said[-8000:], flush=True)

    def line(self):
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def took(what, start):
    print(f"     {what}: {time.monotonic() - start:.0f} s", flush=True)


def run(*argv, timeout=STEP_TIMEOUT_S, show=lambda line: None):
    """(exit status, what it printed). The process dies with us."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, argv)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    late = threading.Timer(timeout, process.kill)
    late.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            show(line.rstrip("\n"))
        return process.wait(), "".join(lines)
    finally:
        late.cancel()
        process.kill()
        process.wait()
        process.stdout.read()  # ends when all that it started has


def must(*argv, **more):
    status, said = run(*argv, **more)
    if status != 0:
        raise Failed(f"exit status {status}: {' '.join(map(str, argv[-6:]))}\n{said}")
    return said


def kept(path):
    return path.exists() and time.time() - path.stat().st_mtime < MAX_AGE_S


def remove(path):
    must("rm", "-rf", "--one-file-system", path)


class System:
    """A fresh Debian in a folder."""

    def __init__(self, suite, name):
        self.path = CACHE / f"{suite}-{name}"
        self.archives = CACHE / f"{suite}-archives"  # packages that apt need not fetch again
        base = self._base(suite)
        start = time.monotonic()
        self.archives.mkdir(exist_ok=True)
        remove(self.path)
        self.path.mkdir()
        must("tar", "-C", self.path, "-xf", base)
        (self.path / "root/.cache/ccache").mkdir(parents=True)
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        (self.path / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")  # as an installed system has it
        took(f"{self.path.name} laid out", start)

    def _base(self, suite):
        base = CACHE / f"{suite}.tar"
        if not kept(base):
            start = time.monotonic()
            remove(self.archives)
            partial = CACHE / "partial.tar"
            must(*MMDEBSTRAP, suite, partial, debian_root.MIRROR)
            partial.rename(base)
            took(f"{suite} made by mmdebstrap", start)
        return base

    def command(self, words, folder="/"):
        proxies = [f"{name}={os.environ[name]}" for name in ("http_proxy", "https_proxy") if name in os.environ]
        return ["env", "-i", *(f"{name}={value}" for name, value in debian_root.ENVIRONMENT.items()), *proxies,
                "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child",
                "sh", "-c", INSIDE, "sh", self.path, ccache_folder(), self.archives, folder, *words]

    def run(self, *words, folder=TREE, **more):
        return run(*self.command(words, folder), **more)

    def must(self, *words, folder=TREE, **more):
        return must(*self.command(words, folder), **more)

    def install(self, *packages):
        self.must("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages, folder="/")


def ccache_folder():
    """This machine's, so that what did not change since the last run is not compiled again."""
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(os.environ.get("CCACHE_DIR") or pathlib.Path(caches, "ccache"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def copy_tree(target):
    """The tree as a checkout would have it, with what is not committed yet."""
    listed = must("git", "-c", f"safe.directory={servers.ROOT}", "-C", servers.ROOT, "ls-files", "-z", "--cached",
                  "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        source, place = servers.ROOT / name, target / name
        if os.path.lexists(source):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)


def show_quickstart(start):
    def show(line):
        if line.startswith("quickstart: "):
            print(f"     {time.monotonic() - start:4.0f} s  {line[:100]}", flush=True)
    return show


def try_quickstart(system, counts):
    start = time.monotonic()
    copy_tree(system.path / TREE.lstrip("/"))
    status, said = system.run(*GIVING_WAY, "deploy/quickstart.sh", "--once", show=show_quickstart(start))
    good = status == 0 and " bytes are the same" in said
    counts.add("quickstart and demo", start, passed=int(good), failed=int(not good), said=said)
    return good


def try_units(system, counts):
    start = time.monotonic()
    status, said = system.run(*GIVING_WAY, "cmake", "--build", "--preset", "release")
    if status != 0:
        counts.add("the unit tests build", start, failed=1, said=said)
        return
    took("the unit tests built", start)
    said = system.must("ctest", "--preset", "release", "--show-only=json-v1")
    for test in json.loads(said[said.index("{"):])["tests"]:
        if test.get("command", [""])[0].startswith(TREE):  # and no script, which is no other here
            try_unit(system, test, counts)


def try_unit(system, test, counts):
    start = time.monotonic()
    status, said = system.run(*test["command"], timeout=UNIT_TIMEOUT_S)
    cases = DOCTEST.search(said)
    passed, failed, skipped = map(int, cases.groups()) if cases else (0, 0, 0)
    if status != 0 or not cases:
        failed = max(failed, 1)
    counts.add(f"unit {test['name']}: {passed} passed, {failed} failed", start, passed, failed, skipped, said)


def try_package(system, suite, counts):
    """As the README has it, but into a system where nothing of what it needs is there yet."""
    start = time.monotonic()
    try:
        system.install("dpkg-dev", "file")
        system.must("cpack", "--config", "build/release/CPackConfig.cmake")
        [package] = (system.path / TREE.lstrip("/") / "build/release").glob("*.deb")
        fresh = System(suite, "package")
        shutil.copy(package, fresh.path / "root")
        fresh.must("apt-get", "update", "-q", folder="/")
        fresh.install(f"/root/{package.name}")
        check_package(fresh, system.must("build/release/nbdgw", "version"))
    except Failed as error:
        counts.add("package", start, failed=1, said=str(error))
    else:
        counts.add("package", start, passed=1)


def check_package(system, version):
    said = system.must("nbdgw", "version", folder="/")
    if said != version:
        raise Failed(f"nbdgw version: {said}, not {version}")
    listed = {name: system.must("dpkg", "-L", name, folder="/").split() for name in ("nbdgw", "systemd")}
    [own] = [path for path in listed["systemd"] if path.endswith("/system/systemd-journald.service")]
    units = [path for path in listed["nbdgw"] if path.endswith((".service", ".socket"))]
    if not units or {os.path.dirname(path) for path in units} != {os.path.dirname(own)}:
        raise Failed(f"systemd has {own}, and we {units}")
    for unit in map(os.path.basename, units):
        _, said = system.run("systemctl", "is-enabled", unit, folder="/")  # its exit status says no more
        if said.strip() not in ("disabled", "static"):
            raise Failed(f"systemctl is-enabled {unit}: {said}")


def everything(suite, counts):
    start = time.monotonic()
    try:
        system = System(suite, "build")
        if try_quickstart(system, counts):
            try_units(system, counts)
            try_package(system, suite, counts)
    except Failed as error:
        counts.add(suite, start, failed=1, said=str(error))


def other():
    return "bookworm" if platform.freedesktop_os_release().get("VERSION_CODENAME") == "trixie" else "trixie"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default=other(), help="bookworm or trixie; default here: %(default)s")
    suite = parser.parse_args().suite
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        print(f"not installed: {', '.join(missing)}" if missing else "needs root")
        strict = os.environ.get("CI") == "true"
        print("0 passed, 1 failed" if strict else "0 passed, 0 failed, 1 skipped")
        return int(strict)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    CACHE.mkdir(parents=True, exist_ok=True)
    counts = Counts()
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(f"a fresh Debian, {suite}", flush=True)
        try:
            everything(suite, counts)
        finally:
            if not counts.failed and not os.environ.get("NBDGW_KEEP"):
                for name in ("build", "package"):
                    remove(CACHE / f"{suite}-{name}")
            else:
                print(f"the roots are kept in {CACHE}", flush=True)
    print(counts.line())
    return 0 if counts.failed == 0 and counts.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
