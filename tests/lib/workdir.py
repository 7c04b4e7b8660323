"""One scratch directory for a whole run; every log, socket, configuration and disk file lives under it."""
import atexit
import os
import pathlib
import shutil
import tempfile
import threading

_root = None
_lock = threading.Lock()
_keep = bool(os.environ.get("NBDGW_KEEP"))


def root():
    """The run's scratch directory, made at first use and removed at exit (kept if NBDGW_KEEP is set)."""
    global _root
    with _lock:
        if _root is not None:
            return _root
        _root = pathlib.Path(tempfile.mkdtemp(prefix="nbdgw-test-"))
        atexit.register(_remove)
    return _root


def fresh(name):
    """A new directory under the root, named after what it is for."""
    return pathlib.Path(tempfile.mkdtemp(prefix=name.replace("/", "_") + "-", dir=root()))


def in_memory(name):
    """A new directory on tmpfs, for disk images that must not be limited by a disk."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="nbdgw-" + name + "-", dir=base))
    atexit.register(shutil.rmtree, path, True)
    return path


def keep():
    """Do not remove the scratch directory: something failed and the logs are wanted."""
    global _keep
    _keep = True


def _remove():
    if _keep:
        print(f"logs kept in {_root}", flush=True)
    else:
        shutil.rmtree(_root, ignore_errors=True)


def random_file(path, size, seed=None):
    """Fills `path` with `size` random bytes; with a seed the same bytes every time."""
    import random
    source = random.Random(seed) if seed is not None else None
    with open(path, "wb") as out:
        left = size
        while left:
            n = min(left, 1 << 20)
            out.write(source.randbytes(n) if source else os.urandom(n))
            left -= n
    return path
