"""Ports and sockets as /proc and ss see them: who owns a listener, which connections carried bytes."""
import os
import re
import socket
import subprocess

_LISTEN = "0A"
_ESTABLISHED = "01"
_handed_out = []


def free_port():
    """A TCP port of 127.0.0.1 that is free now and is handed out to nobody else: not again in this run, and to no
    other run at the same time (an abstract socket named after the port says so as long as this process lives)."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0nbdgw-test-port-{port}")
        except OSError:
            claim.close()
            continue
        _handed_out.append(claim)
        return port


def _proc_net_tcp():
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as table:
                next(table)
                for line in table:
                    f = line.split()
                    sent, received = (int(queue, 16) for queue in f[4].split(":"))
                    yield (int(f[1].rsplit(":", 1)[1], 16), int(f[2].rsplit(":", 1)[1], 16), f[3], f[9],
                           sent + received)
        except FileNotFoundError:
            pass


def inodes_of(pid):
    """Socket inodes that the process has open; empty if the process is gone."""
    found = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if link.startswith("socket:["):
                found.add(link[8:-1])
    except OSError:
        pass
    return found


def owns_listener(pid, port):
    """True if this very process (not a namesake left over) listens on the port."""
    own = inodes_of(pid)
    return any(p == port and state == _LISTEN and inode in own for p, _, state, inode, _ in _proc_net_tcp())


def listens_unix(path):
    """True if somebody listens on the UNIX socket; that its file is there says only that it is bound."""
    accepts = 1 << 16  # SO_ACCEPTCON
    with open("/proc/net/unix") as table:
        next(table)
        return any(len(f) == 8 and f[7] == str(path) and int(f[3], 16) & accepts for f in map(str.split, table))


def established_to(pid, remote_port):
    """Number of established connections that the process has to a remote port."""
    own = inodes_of(pid)
    return sum(1 for _, remote, state, inode, _ in _proc_net_tcp()
               if remote == remote_port and state == _ESTABLISHED and inode in own)


def queued(port):
    """Bytes that wait in the kernel on the connections to a port of this machine, at either end: sent and not received,
    or received and not read."""
    return sum(waiting for local, remote, state, _, waiting in _proc_net_tcp()
               if port in (local, remote) and state == _ESTABLISHED)


def byte_counters(pid, remote_port):
    """{local port: (bytes sent, bytes received)} of the process's established connections to remote_port, as the
    kernel's tcp_info counts them (needs ss of iproute2)."""
    text = subprocess.run(["ss", "-H", "-t", "-i", "-n", "-p", "-O", "state", "established",
                           f"( dport = :{remote_port} )"], check=True, capture_output=True, text=True).stdout
    counters = {}
    for line in text.splitlines():
        if f"pid={pid}," not in line:
            continue
        local = int(line.split()[2].rsplit(":", 1)[1])
        sent = re.search(r"\bbytes_sent:(\d+)", line)
        received = re.search(r"\bbytes_received:(\d+)", line)
        counters[local] = (int(sent[1]) if sent else 0, int(received[1]) if received else 0)
    return counters
