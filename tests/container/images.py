"""Builds the images with buildah, and runs programs in them without a container runtime: a mount namespace, a read-only
root, no capabilities, the image's own user."""
import fnmatch
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time
import unittest

from lib import servers, workdir

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/container/Dockerfile"
BASE = "docker.io/library/debian:bookworm-slim"  # what the Dockerfile builds on, and is made here
SOURCES = [f"deb http://deb.debian.org/{path} main"
           for path in ("debian bookworm", "debian bookworm-updates", "debian-security bookworm-security")]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "nbdgw-tests"
BASE_AGE_S = 7 * 24 * 3600  # then it is made anew, for the updates of its packages
BUILD_TIMEOUT_S = 1500
# What was built on another Debian than the images' does not find its libraries in them.
FULL = os.environ.get("NBDGW_CONTAINER_FULL") == "1" or platform.freedesktop_os_release().get("VERSION_ID") != "12"


def need():
    """Skips with the reason where this cannot be done; in CI it must be."""
    missing = [tool for tool in ("buildah", "mmdebstrap", "unshare", "setpriv", "nsenter") if shutil.which(tool) is None]
    reason = f"{', '.join(missing)}: not installed" if missing else "needs root" if os.geteuid() != 0 else None
    if reason and os.environ.get("CI") == "true":
        raise AssertionError(reason)
    if reason:
        raise unittest.SkipTest(reason)


def run(*argv, timeout=120, **more):
    """What a command prints; an error with all it said if it fails."""
    done = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout[-3000:]}"
                             f"{done.stderr[-5000:]}")
    return done.stdout


def base_archive():
    """A Debian 12 with as little as apt needs, as an archive; kept for some days."""
    path = CACHE / "bookworm-minbase.tar"
    if not path.exists() or time.time() - path.stat().st_mtime > BASE_AGE_S:
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = CACHE / f"partial-{os.getpid()}.tar"
        run("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", partial, *SOURCES, timeout=600)
        partial.rename(path)
    return path


def stages():
    """[(name, lines)] of the Dockerfile."""
    found = []
    for line in DOCKERFILE.read_text().splitlines():
        start = re.fullmatch(r"FROM (\S+) AS (\S+)", line)
        if start:
            found.append((start[2], []))
        if found:
            found[-1][1].append(line)
    return found


def without_compiling():
    """The Dockerfile with another stage `build`: one that has the program from the context."""
    lines = []
    for name, text in stages():
        lines += ["FROM scratch AS build", "COPY prebuilt/nbdgw /out/usr/bin/nbdgw"] if name == "build" else text
    return "\n".join(lines) + "\n"


def context(folder):
    """What .dockerignore leaves of the tree, in a folder."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    if rules[0] != "*" or not all(rule.startswith("!") for rule in rules[1:]):
        raise AssertionError(".dockerignore is not a list of what is taken any more")
    for rule in rules[1:]:
        source, target = ROOT / rule[1:], folder / rule[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=lambda _, names: fnmatch.filter(names, "__pycache__"))
        else:
            shutil.copy2(source, target)
    return folder


class Store:
    """A store of images of our own, removed at the end."""

    def __init__(self):
        self.folder = workdir.fresh("images")
        self.context = context(self.folder / "context")
        self.dockerfile = DOCKERFILE
        if not FULL:
            (self.context / "prebuilt").mkdir()
            run("strip", "-o", self.context / "prebuilt/nbdgw", servers.gateway_binary())
            self.dockerfile = self.folder / "Dockerfile"
            self.dockerfile.write_text(without_compiling())
        base = self.folder / "base"
        base.mkdir()
        os.link(base_archive(), base / "base.tar") if same_device(base) else shutil.copy(base_archive(), base / "base.tar")
        (base / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        self.build(base / "Dockerfile", base, BASE)
        (base / "base.tar").unlink()
        self.mounted = []

    def buildah(self, *words, timeout=120):
        return run("buildah", "--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver",
                   "vfs", *words, timeout=timeout)

    def build(self, dockerfile, folder, tag, target=None):
        self.buildah("bud", "--isolation", "chroot", "--pull-never", "-f", dockerfile, *(["--target", target] if target
                     else []), "-t", tag, folder, timeout=BUILD_TIMEOUT_S)

    def image(self, target):
        """Builds a stage of the Dockerfile; an Image."""
        tag = f"localhost/nbdgw-test-{target}"
        self.build(self.dockerfile, self.context, tag, target)
        return Image(self, tag)

    def close(self):
        for name in self.mounted:
            self.buildah("umount", name)
        shutil.rmtree(self.folder)


def same_device(folder):
    return folder.stat().st_dev == base_archive().stat().st_dev


class Image:
    """An image with its files in a folder."""

    def __init__(self, store, tag):
        self.config = json.loads(store.buildah("inspect", "--type", "image", tag))["OCIv1"]["config"]
        name = store.buildah("from", "--pull-never", tag).strip()
        self.root = pathlib.Path(store.buildah("mount", name).strip())
        store.mounted.append(name)

    def above(self, base):
        """Bytes of the files that the base does not have, or has otherwise: what its layers hold. Each inode once."""
        found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = pathlib.Path(folder, name)
                status = path.lstat()
                try:
                    below = (base.root / path.relative_to(self.root)).lstat()
                    same = (below.st_size, int(below.st_mtime)) == (status.st_size, int(status.st_mtime))
                except FileNotFoundError:
                    same = False
                if not same:
                    found[status.st_ino] = status.st_size
        return sum(found.values())

    def command(self, words, mounts=(), tmpfs=(), privileged=False):
        """Command line that runs `words` in it: read-only, its own user, no privileges; in `mounts` (source, place)
        read-only, too; in `tmpfs` empty and writable."""
        user, group = (self.config.get("User") or "0:0").split(":")
        script = ["set -eu", f"root={self.root}", "mount --bind $root $root", "mount -o remount,bind,ro $root"]
        script += [f"mount --bind -o ro {source} $root{place}" for source, place in mounts]
        script += [f"mount -t tmpfs -o size=16m,mode=0750,uid={user},gid={group} none $root{place}" for place in tmpfs]
        script += ["mount -t proc -o ro none $root/proc", "mount -t tmpfs -o mode=0755 none $root/dev",
                   "for node in null zero urandom; do : >$root/dev/$node; mount --bind /dev/$node $root/dev/$node; done",
                   'exec "$@"']
        drop = [] if privileged else ["setpriv", "--no-new-privs"]  # a user other than root has no capabilities then
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", "\n".join(script), "sh", *drop,
                "chroot", f"--userspec={user}:{group}", str(self.root), *map(str, words)]
