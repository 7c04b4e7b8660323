"""A small Debian, the same as this machine's, in a folder, to install packages into: made by debootstrap, kept under
build/, copied for each test. Nothing in it is ever started here; tests/vm makes a guest of one."""
import hashlib
import os
import pathlib
import platform
import shutil
import stat
import subprocess

from . import servers

SUITE = platform.freedesktop_os_release()["VERSION_CODENAME"]
MIRROR = os.environ.get("NBDGW_DEBIAN_MIRROR", "http://deb.debian.org/debian")
# systemd: its tools look at the units and enable them. nbd-client: our files must get on with its.
INCLUDE = "systemd,nbd-client"
CACHE = servers.ROOT / "build/deploy"
TIMEOUT_S = 600
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive"}
# What changes with every package, or with a user that stays, and says nothing of what ours has left.
VOLATILE = ("var/lib/dpkg/", "var/log/", "var/cache/", "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow",
            "etc/.pwd.lock")


class Root:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    def run(self, *words, expect=0):
        """Runs a command inside; what it printed."""
        done = subprocess.run(["chroot", str(self.path), *map(str, words)], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S)
        if expect is not None and done.returncode != expect:
            raise AssertionError(f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    def put(self, name, text, mode=0o644):
        """A file inside."""
        path = self.path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def files(self):
        """{path: what a change of it would change}, but for what is VOLATILE. Symbolic links are not followed."""
        found = {}
        for folder, folders, files in os.walk(self.path):
            for name in folders + files:
                path = pathlib.Path(folder, name)
                short = str(path.relative_to(self.path))
                if not short.startswith(VOLATILE):
                    found[short] = _facts(path)
        return found


def _facts(path):
    info = path.lstat()
    facts = (stat.filemode(info.st_mode), info.st_uid, info.st_gid)
    if stat.S_ISREG(info.st_mode):
        return (*facts, info.st_size, info.st_mtime_ns)
    return (*facts, os.readlink(path)) if stat.S_ISLNK(info.st_mode) else facts


def _kept(kind, facts, make):
    """A folder under build/ that stands for these facts; `make` fills it when there is none yet."""
    kept = CACHE / f"{kind}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    if not kept.exists():
        for old in CACHE.glob(f"{kind}-*"):
            shutil.rmtree(old)
        making = CACHE / f"making-{kind}-{os.getpid()}"
        shutil.rmtree(making, ignore_errors=True)
        making.parent.mkdir(parents=True, exist_ok=True)
        make(making)
        making.rename(kept)
    return kept


def _bootstrap(path):
    log = CACHE / "debootstrap.log"
    with open(log, "w") as out:
        done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, str(path), MIRROR],
                              stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise AssertionError(f"debootstrap failed:\n{log.read_text()[-2000:]}")
    Root(path).put("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)


def _copy(source, target):
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True, timeout=TIMEOUT_S)


def _pristine(kind, depends):
    """The root that is kept, with all that our package depends on."""
    def make(path):
        _copy(_kept("debian", f"{SUITE} {INCLUDE}", _bootstrap), path)
        Root(path).run("apt-get", "satisfy", "-q", "-y", "--no-install-recommends", depends)
        Root(path).run("apt-get", "clean")
    return _kept(kind, f"{SUITE} {INCLUDE} {depends}", make)


def fresh(depends, directory, kind="ready"):
    """A root of one's own, at `directory`, that meets the dependencies. One of each kind is kept to be copied."""
    _copy(_pristine(kind, depends), directory)
    return Root(directory)
