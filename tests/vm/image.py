"""What the guest boots: Debian's kernel, unpacked and never installed, and an initramfs with the programs that the tests
use, the libraries these name, and the kernel modules. Made once under build/vm and made again when anything in it changes.
The programs are this machine's; the kernel may be that of another Debian."""
import contextlib
import fcntl
import functools
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess

from lib import debian_root, servers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build/vm"
ROOTFS = HERE / "rootfs"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = ["virtio_pci", "virtio_net", "virtio_console", "crc32c-intel", "sha3_generic",
           "nbd", "xfs",
           "iscsi_target_mod", "target_core_file", "target_core_iblock", "loop", "dm-mod"]
PROGRAMS = ["busybox", "dash", "nbd-client", "fio", "blkdiscard", "blkid", "dd", "dmsetup", "flock",
            "e2fsck", "mkfs.ext4", "resize2fs", "mkfs.xfs", "xfs_growfs", "xfs_repair"]
# What must be installed on the host; debootstrap and what follows for debian.py.
TOOLS = ["qemu-system-x86_64", "cpio", "depmod", "dpkg-deb", "apt-get", *PROGRAMS, "debootstrap", "cpack",
         "dpkg-shlibdeps"]
# Debian's ordinary users have no sbin in their PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class ImageError(Exception):
    """The image cannot be made: the text says why."""


def missing_tools():
    return [tool for tool in TOOLS if not shutil.which(tool, path=_PATH)]


@functools.cache
def build(suite=debian_root.SUITE):
    """(kernel, initramfs), from the cache if they are there."""
    vmlinuz, tree = kernel(suite)
    with _locked():
        files = _host_files()
        initramfs = CACHE / f"initramfs-{suite}-{_digest(tree.name, files)}.cpio"
        if not initramfs.exists():
            for old in CACHE.glob(f"initramfs-{suite}-*"):
                old.unlink()
            pack(_stage(tree, files), initramfs)
        return vmlinuz, initramfs


@contextlib.contextmanager
def _locked():
    """Two runs at a time make the image once."""
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv, **more):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                          env={**os.environ, "PATH": _PATH, "LC_ALL": "C"}, **more)
    if done.returncode != 0:
        raise ImageError(f"{' '.join(done.args)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _apt(suite):
    """Options of apt for packages of that Debian: none for this machine's, else lists of their own."""
    if suite == debian_root.SUITE:
        return []
    state = CACHE / suite / "apt"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {debian_root.MIRROR} {suite} main\n")
    options = {"Dir::State::lists": state / "lists", "Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "-",
               "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "Acquire::Languages": "none"}
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", *words, "update")
    return words


def _kernel_package(suite):
    """The newest kernel's .deb: downloaded, or the one of an earlier run."""
    apt, folder = _apt(suite), CACHE / suite
    folder.mkdir(exist_ok=True)
    depends = _run("apt-cache", *apt, "depends", "--important", KERNEL_PACKAGE)
    name = re.search(r"Depends: (linux-image-\S+)", depends)
    if not name:
        raise ImageError(f"apt-cache knows no kernel behind {KERNEL_PACKAGE}: apt-get update")
    have = sorted(folder.glob(f"{name[1]}_*.deb"))
    if not have:
        for old in folder.glob("linux-image-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", *apt, "download", name[1], cwd=folder)
        have = sorted(folder.glob(f"{name[1]}_*.deb"))
    return have[-1]


def _unpacked(package):
    tree = package.parent / package.stem
    if not tree.exists():
        partial = CACHE / "unpacking"
        shutil.rmtree(partial, ignore_errors=True)
        _run("dpkg-deb", "-x", package, partial)
        partial.rename(tree)
    if not (tree / "lib").exists():  # from Debian 13 on
        (tree / "lib").symlink_to("usr/lib")
    return tree


def _host_files():
    """{path in the guest: file on the host} of the programs and the libraries they are linked with."""
    files = {}
    ours = {"nbdgw": servers.gateway_binary()}  # for its attach
    for name, program in {**{name: pathlib.Path(shutil.which(name, path=_PATH)) for name in PROGRAMS}, **ours}.items():
        files[f"usr/bin/{name}"] = program.resolve()
        # "not a dynamic executable" is no error here: busybox-static is one.
        linked = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for library in re.findall(r"(?:=> |^\t)(/\S+) \(0x", linked, re.MULTILINE):
            # /lib and /lib64 are links into /usr in the guest too; the name that programs ask for is kept.
            place = pathlib.Path(library)
            files[str((place.parent.resolve() / place.name).relative_to("/"))] = place.resolve()
    return files


def _digest(kernel_version, files):
    digest = hashlib.sha256()
    for path in [pathlib.Path(__file__), *sorted(ROOTFS.rglob("*"))]:
        if path.is_file():
            digest.update(f"{path.relative_to(HERE)} {path.stat().st_mode}\0".encode() + path.read_bytes())
    digest.update(kernel_version.encode())
    for place, path in sorted(files.items()):
        digest.update(place.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _stage(tree, files):
    """The guest's root folder."""
    root = CACHE / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "proc", "sys", "dev", "run", "tmp", "mnt", "etc", "var"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr/bin/sh").symlink_to("dash")
    for place, path in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, root / place)
    shutil.copytree(ROOTFS, root, dirs_exist_ok=True)
    stage_modules(tree, root)
    return root


def kernel(suite=debian_root.SUITE):
    """(kernel, folder that it was unpacked into)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked():
        tree = _unpacked(_kernel_package(suite))
    return next(tree.glob("boot/vmlinuz-*")), tree


def _module_name(path):
    return pathlib.Path(path).name.split(".")[0].replace("_", "-")


def _copy_module(source, target):
    """Unpacked, where they come packed (Debian 13): then the guest needs no library for that."""
    if source.suffix == ".xz":
        target.with_suffix("").write_bytes(lzma.decompress(source.read_bytes()))
    else:
        shutil.copy2(source, target)


def stage_modules(tree, root):
    """The wanted modules and what they need; all of them would only fill the guest's memory."""
    version = next(tree.glob("lib/modules/*")).name
    _run("depmod", "-b", tree, version)
    source, target = tree / "lib/modules" / version, root / "lib/modules" / version
    needs = dict(line.split(":", 1) for line in (source / "modules.dep").read_text().splitlines())
    by_name = {_module_name(path): path for path in needs}
    built_in = set(map(_module_name, (source / "modules.builtin").read_text().split()))
    for name in MODULES:
        if name.replace("_", "-") in built_in:
            continue
        path = by_name.get(name.replace("_", "-"))
        if path is None:
            raise ImageError(f"{tree.name} has no module {name}")
        for needed in [path, *needs[path].split()]:
            (target / needed).parent.mkdir(parents=True, exist_ok=True)
            _copy_module(source / needed, target / needed)
    for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        shutil.copy2(source / name, target / name)
    _run("depmod", "-b", root, version)


def pack(root, initramfs, owners=("-R", "0:0")):
    """Not compressed: unpacking in the guest would take longer than reading it does. The folder is gone then."""
    partial = initramfs.with_suffix(".partial")
    names = "\0".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))])
    with open(partial, "wb") as out:
        done = subprocess.run(["cpio", "--quiet", "-0", "-o", "-H", "newc", *owners], cwd=root, input=names.encode(),
                              stdout=out, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise ImageError(f"cpio: {done.stderr.decode()}")
    partial.rename(initramfs)
    shutil.rmtree(root)
