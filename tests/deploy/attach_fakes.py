"""A machine for nbdgw-attach that is made of files: its /sys, /dev and /proc, and programs that only act as if."""
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile
import time

from lib import pace

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "attach" / "nbdgw-attach"
WAIT_S = 15

# Every fake notes how it was called. $BOX is the folder of the fakes' state.
NOTE = 'echo "$(basename "$0") $*" >>"$BOX/calls"\n'

# Attaches as the file `mode` says; `mode-nbdN`, if there is one, goes before. It ends when its pid file is gone, as the
# kernel lets it go then.
NBD_CLIENT = NOTE + r'''
for last; do :; done
disk=$(basename "$last")
sys=$BOX/root/sys/block/$disk
case " $* " in
  *" -d "*)
    [ -e "$BOX/deaf" ] && exit 1
    rm -f "$sys/pid"
    exit 0 ;;
esac
mode=$(cat "$BOX/mode-$disk" 2>/dev/null || cat "$BOX/mode")
case $mode in
  absent) if [ ! -e "$BOX/present" ]; then echo 'Error: CONNECT failed' >&2; echo 'Exiting.' >&2; exit 1; fi ;;
  refuse) printf 'Negotiation: ..'
    echo 'Error: Unknown error returned by server. Server said: no export has this name' >&2
    echo 'Exiting.' >&2; exit 1 ;;
  refuse-silently) printf 'Negotiation: ..'; echo 'Error: Unknown error returned by server.' >&2
    echo 'Exiting.' >&2; exit 1 ;;
  taken) echo "Error: Kernel doesn't support multiple connections" >&2; echo 'Exiting.' >&2; exit 1 ;;
  hang) exec sleep 1000 ;;
esac
echo $$ >"$sys/pid"
echo 524288 >"$sys/size"
if [ "$mode" = dies ]; then until [ -e "$BOX/die" ]; do sleep 0.02; done; echo "nbd,1: Kernel call returned." >&2; exit 1; fi
while [ -e "$sys/pid" ]; do sleep 0.02; done
echo 0 >"$sys/size"
'''

MOUNT = NOTE + r'''
[ -e "$BOX/mount-fails" ] && { echo 'mount: wrong fs type' >&2; exit 32; }
for last; do before=${this-}; this=$last; done
echo "$before $this ext4 rw 0 0" >>"$BOX/root/proc/self/mounts"
'''

UMOUNT = NOTE + r'''
for last; do :; done
if [ -e "$BOX/busy" ] && [ "$1" != -l ]; then echo "umount: $last: target is busy." >&2; exit 32; fi
awk -v folder="$last" '{ line[NR] = $0; if ($2 == folder) gone = NR }
  END { for (i = 1; i <= NR; i++) if (i != gone) print line[i] }' "$BOX/root/proc/self/mounts" >"$BOX/mounts.new"
cat "$BOX/mounts.new" >"$BOX/root/proc/self/mounts"
'''

# `blkid` is what it prints and its exit status: "TYPE=ext4" and 0 if the file is there, nothing and 2 if not.
BLKID = NOTE + r'''
if [ -e "$BOX/blkid" ]; then cat "$BOX/blkid"; exit "$(cat "$BOX/blkid-status" 2>/dev/null || echo 0)"; fi
exit 2
'''

# Copies `disk` as what the device's first MiB holds.
DD = NOTE + r'''
[ -e "$BOX/dd-fails" ] && { echo 'dd: error reading: Input/output error' >&2; exit 1; }
for word; do case $word in of=*) cat "$BOX/disk" >"${word#of=}" ;; esac; done
'''

# `nbdgw attach`: stays until it is told to stop, or is killed.
NBDGW = NOTE + r'''
while [ $# -gt 0 ]; do
  case $1 in --device) device=$2 ;; --ready-file) ready=$2 ;; esac
  shift
done
[ "$(cat "$BOX/mode")" = refuse ] && { echo 'nbdgw: unix:///x says: There is no export of that name.' >&2; exit 1; }
[ "$device" = auto ] && device=/dev/nbd0
trap 'rm -f "$ready"; exit 0' TERM
echo $$ >"$BOX/keeper"
echo "$device" >"$ready"
while :; do sleep 0.02; done
'''

MKFS = NOTE + '[ -e "$BOX/mkfs-fails" ] && exit 1\nexit 0\n'
ONLY_NOTE = NOTE

FAKES = {"nbd-client": NBD_CLIENT, "mount": MOUNT, "umount": UMOUNT, "blkid": BLKID, "dd": DD, "mkfs.ext4": MKFS,
         "mkfs.xfs": MKFS, "chown": ONLY_NOTE, "sync": ONLY_NOTE}
NO_APPLETS = ("nbd-client", "mkfs.ext4", "mkfs.xfs")  # busybox has none of these
NEEDED = ["awk", "basename", "cat", "chmod", "echo", "env", "grep", "head", "mkdir", "mkfifo", "mktemp", "printf", "rm",
          "sed", "sleep", "tail", "tr", "wc"]


def group_exists(leader):
    """Is anybody of this process group alive? Those that have ended, but not for their parent yet, do not count."""
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == leader and state != "Z":
            return True
    return False


class Box:
    """The machine, and a run of nbdgw-attach on it."""

    def __init__(self, shell, devices=2):
        self.shell = [shutil.which(shell[0]), *shell[1:]]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nbdgw-attach-test."))
        self.root = self.folder / "root"
        for number in range(devices):
            self.add_device(number)
        self.write("root/sys/module/nbd/initstate", "live\n")
        self.write("root/proc/self/mounts", "/dev/vda / ext4 rw 0 0\n")
        self.write("mode", "ok")
        self.write("calls", "")
        (self.folder / "disk").write_bytes(bytes(1 << 20))
        self.make_programs()
        self.process = None
        self.started = []
        self.functions = []  # of the shell, which it takes before programs and its own commands
        self.environment = {"PATH": str(self.folder / "bin"), "BOX": str(self.folder), "TMPDIR": str(self.folder),
                            "NBDGW_ATTACH_ROOT": str(self.root), "NBDGW_EXPORT": "vol0"}

    def add_device(self, number):
        self.write(f"root/sys/block/nbd{number}/size", "0\n")
        (self.root / "dev").mkdir(exist_ok=True)
        os.mknod(self.root / "dev" / f"nbd{number}", stat.S_IFBLK | 0o600, os.makedev(43, number))

    def make_programs(self):
        (self.folder / "bin").mkdir()
        for name in NEEDED:
            for place in ("/usr/bin", "/bin"):
                if os.path.exists(f"{place}/{name}"):
                    (self.folder / "bin" / name).symlink_to(f"{place}/{name}")
                    break
        for name, text in FAKES.items():
            path = self.folder / "bin" / name
            path.write_text("#!/bin/sh\n" + text)
            path.chmod(0o755)

    def give_nbdgw(self):
        """It is installed, as where the package is."""
        path = self.folder / "bin" / "nbdgw"
        path.write_text("#!/bin/sh\n" + NBDGW)
        path.chmod(0o755)

    def write(self, name, text=""):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def without(self, name):
        (self.folder / "bin" / name).unlink()

    def calls(self):
        return (self.folder / "calls").read_text().splitlines()

    def mounts(self):
        return [line.split()[:2] for line in (self.root / "proc/self/mounts").read_text().splitlines()]

    def argv(self):
        """busybox ash takes its applets before what is in PATH; functions it takes before its applets."""
        functions = list(self.functions)
        if len(self.shell) > 1:
            functions += [f'{name}() {{ "{path}" "$@"; }}' for name in FAKES if name not in NO_APPLETS
                          and (path := self.folder / "bin" / name).exists()]
        if not functions:
            return [*self.shell, str(SCRIPT)]
        return [*self.shell, "-c", "\n".join([*functions, f". {SCRIPT}"]), "nbdgw-attach"]

    def start(self, *arguments, **environment):
        self.process = subprocess.Popen([*self.argv(), *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True, env={**self.environment, **environment})
        self.started.append(self.process)
        return self

    def end(self):
        """(exit status, what it said, line by line)."""
        start = time.monotonic()
        try:
            out, err = self.process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            out, err = self.process.communicate(timeout=pace.limit_here(time.monotonic() - start, WAIT_S) - WAIT_S)
        return self.process.returncode, (out + err).splitlines()

    def run(self, *arguments, **environment):
        return self.start(*arguments, **environment).end()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def wait_until(self, condition, what):
        start = time.monotonic()
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"ended before it was {what}: {self.end()}")
            taken_s = time.monotonic() - start
            if taken_s > pace.limit_here(taken_s, WAIT_S):
                raise AssertionError(f"not {what} in time; calls: {self.calls()}")
            time.sleep(0.01)

    def wait_ready(self):
        ready = self.folder / "ready"
        self.wait_until(lambda: ready.exists() and ready.read_text(), "ready")
        return ready.read_text().strip()

    def called(self, program):
        return [call for call in self.calls() if call.split()[0] == program]

    def close(self):
        """Ends all that the runs started: each is a session of its own. Those that had ended left nothing behind, but
        for the short sleeps of a fake that was killed."""
        left = []
        for process in self.started:
            end = time.monotonic() + 1
            while process.poll() is not None and group_exists(process.pid) and time.monotonic() < end:
                time.sleep(0.01)
            if group_exists(process.pid):
                left += [process.args] if process.poll() is not None else []
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        shutil.rmtree(self.folder)
        if left:
            raise AssertionError(f"processes were left behind by {left}")
