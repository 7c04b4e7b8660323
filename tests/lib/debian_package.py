"""Our Debian package, made from the release tree the way the README has it."""
import functools
import os
import subprocess

from . import servers, workdir

BUILD = servers.ROOT / "build/release"
TIMEOUT_S = 300


def build(directory):
    """cpack, but into `directory`; where the package is."""
    done = subprocess.run(["cpack", "--config", str(BUILD / "CPackConfig.cmake"), "-B", str(directory)],
                          capture_output=True, text=True, timeout=TIMEOUT_S,
                          env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"})
    if done.returncode != 0:
        raise AssertionError(f"cpack: {done.stdout}{done.stderr}")
    [package] = directory.glob("*.deb")
    return package


@functools.cache
def built():
    """One for the whole run."""
    return build(workdir.fresh("package"))


def depends(package):
    """What it needs, as apt understands it."""
    return subprocess.run(["dpkg-deb", "-f", str(package), "Depends"], check=True, capture_output=True, text=True,
                          timeout=TIMEOUT_S).stdout.strip()
