"""A whole Debian 12 as the guest, with systemd: a fresh machine, on which our package was just installed."""
import os
import shutil

import image
from lib import debian_package, debian_root, workdir

# Beside what the package itself needs. sudo: the README says it. busybox: the agent.
MORE = ["systemd-sysv", "udev", "kmod", "sudo", "busybox", "fio", "e2fsprogs"]
AGENT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/usr/bin/agent
[Install]
WantedBy=multi-user.target
"""
# What a server does not need, and would fill the guest's memory.
CUT = ("usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")


def build():
    """(kernel, initramfs). The package is in the guest once more, as /root/nbdgw.deb."""
    package = debian_package.built()
    kernel, tree = image.kernel()
    root = debian_root.fresh(", ".join([debian_package.depends(package), *MORE]),
                             debian_root.CACHE / f"guest-{os.getpid()}", kind="live")
    try:
        shutil.copy2(package, root.path / "root/nbdgw.deb")
        root.run("apt-get", "install", "-q", "-y", "/root/nbdgw.deb")
        (root.path / "usr/sbin/policy-rc.d").unlink()
        for folder in CUT:
            shutil.rmtree(root.path / folder, ignore_errors=True)
        shutil.copy2(image.ROOTFS / "usr/bin/agent", root.path / "usr/bin/agent")
        root.put("/etc/systemd/system/agent.service", AGENT)
        root.put("/etc/modules-load.d/agent.conf", "virtio_console\n")
        root.run("systemctl", "enable", "agent")
        root.put("/etc/hostname", "fresh\n")
        image.stage_modules(tree, root.path)
        (root.path / "init").symlink_to("lib/systemd/systemd")
        initramfs = workdir.in_memory("debian") / "initramfs.cpio"
        image.pack(root.path, initramfs, owners=())
    finally:
        shutil.rmtree(root.path, ignore_errors=True)
    return kernel, initramfs
