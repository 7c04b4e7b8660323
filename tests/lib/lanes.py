"""The lanes of a whole run: what each builds or tests, after which build, and in how many minutes. Every lane counts for
itself and can be run alone: tests/run.sh --lane NAME."""
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT_TIMEOUT_S = 900
PROGRAM_TIMEOUT_S = 2400
UNIT_JOBS = 2
SANITIZED_RECOVERY_S = 8  # how long connections are cut, where the sanitizers look and not the clock

INTEROP = ["/usr/bin/python3", str(ROOT / "tests/interop/run.py")]
RECOVERY = "test_recovery"  # part of the names of its tests
ATTACH = "test_attach"  # the same
RECOVERY_JOBS = 4

# With the sanitizers the time goes where the code is ours: wire input, every way of sending data, recovery, the end.
ASAN_INTEROP = ["Handshake", "Replies", "ReadOnly", "TgtUnsolicited.", "TgtSolicitedOnly", "TgtDigests",
                "TgtChapMutual", "Tgt4k", "IstgtDefaults", "EmbeddedTarget", "Restart", "TargetDown", "Drain", "Check",
                "Commands.test_discover", "test_admin_api.Replay", "BadInput", "test_admin_load"]
ASAN_RECOVERY = ["TgtCuts", "GhostWrite", "PowerLoss", "PathLoss", "OtherPortalGroup", "TwoNames", "Told"]
TSAN_INTEROP = ["TgtDefaults.test_0", "Restart.test_tgtd_once", "Drain", "TargetDown.test_sigterm",
                "test_admin_api.Replay", "test_admin_api_verbs", "test_admin_load", "test_restart.Restart.test_fio_over"]

THREADED = ["net", "shard", "control", "target_host"]  # the layers whose unit tests have threads

DOCTEST = re.compile(r"\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped")
REASON = re.compile(r"ERROR|CRASHED|Sanitizer|runtime error|broken invariant|no end in time|NBDGW_SEED=")
REASONS = 20
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)


class Counts:
    """What was counted so far, and the names of what failed."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.troubles = []

    def add(self, what, passed, failed, skipped=0):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped
        if failed:
            self.troubles.append(f"{what}: {failed} failed")

    def line(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def build(preset, targets, counts):
    """Configures and builds; a failure is one failed test, and the lanes after it are left out."""
    commands = [["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset]]
    if targets:
        commands[1] += ["--target", *targets]
    for argv in commands:
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(done.stdout[-6000:], flush=True)
            counts.add(f"build {preset}", 0, 1)
            return


def sanitizer_environment(preset):
    """Environment of programs of this preset: every finding ends the program with an error."""
    if preset == "asan":
        # Shadow memory is written over, not mapped anew: where mapping is slow, that took half of the time.
        return {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:"
                                "clear_shadow_mmap_threshold=1000000000",
                "UBSAN_OPTIONS": "print_stacktrace=1"}
    if preset == "tsan":
        return {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}
    return {}


def wrapped(preset, argv):
    """ThreadSanitizer of GCC 12 cannot live with more than 28 bits of address randomisation, which newer kernels use;
    where it can, it is left alone, as containers often forbid to switch it off."""
    bits = pathlib.Path("/proc/sys/vm/mmap_rnd_bits")
    if preset == "tsan" and bits.exists() and int(bits.read_text()) > 28:
        return ["setarch", platform.machine(), "-R", *argv]
    return argv


def unit_tests(preset):
    """[(name, argv)] as CTest knows them."""
    done = subprocess.run(["ctest", "--preset", preset, "--show-only=json-v1"], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    listed = json.loads(done.stdout[done.stdout.index("{"):])["tests"]
    return [(test["name"], test["command"]) for test in listed if "command" in test]


def run_unit(preset, counts, wanted=lambda name: True):
    with concurrent.futures.ThreadPoolExecutor(UNIT_JOBS) as pool:
        for _ in pool.map(lambda test: run_unit_program(preset, *test, counts),
                          [test for test in unit_tests(preset) if wanted(test[0])]):
            pass


def run_unit_program(preset, name, argv, counts):
    start = time.monotonic()
    try:
        done = subprocess.run(wrapped(preset, argv), cwd=ROOT, env={**os.environ, **sanitizer_environment(preset)},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=UNIT_TIMEOUT_S)
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, status = (late.stdout or b"").decode(errors="replace") + "\nno end in time", 1
    cases = DOCTEST.search(output)
    passed, failed, skipped = map(int, cases.groups()) if cases else (1, 0, 0)
    if status != 0 and failed == 0:  # a crash, a sanitizer's report, or a test that is no doctest program
        failed, passed = 1, passed if cases else 0
    word = "ok" if status == 0 else "FAIL"
    print(f"{word:<4} {preset} {name}: {passed} passed, {failed} failed ({time.monotonic() - start:.1f} s)", flush=True)
    what = f"unit {name} ({preset})"
    if status != 0:
        # What has failed first: of a long output the end says nothing of it, and of a long run only the end may be kept.
        reasons = [line.strip() for line in output.splitlines() if REASON.search(line)][:REASONS]
        print("\n".join(reasons), output[-8000:], sep="\n", flush=True)
        what += next((f": {line}" for line in reasons if "NBDGW_SEED=" not in line), "")
    counts.add(what, passed, failed, skipped)


def environment_of(preset):
    environment = {"NBDGW_BIN": str(ROOT / "build" / preset / "nbdgw"), **sanitizer_environment(preset)}
    if preset == "tsan":
        environment["NBDGW_WRAP"] = " ".join(wrapped(preset, []))
    if preset != "release":
        environment["NBDGW_RECOVERY_S"] = str(SANITIZED_RECOVERY_S)
    return environment


def print_line(line):
    if not COUNTS.match(line):  # the lane's own comes last
        print(line, end="", flush=True)


def run_counted(what, argv, environment, counts, show=print_line):
    """Runs a program of ours that ends with "N passed, N failed"; show() gets its lines as they come."""
    if os.geteuid() != 0:  # tgtd wants root
        argv = ["sudo", "env", *(f"{key}={value}" for key, value in environment.items()), *argv]
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    try:
        for line in process.stdout:
            show(line)
            lines.append(line)
        process.wait(PROGRAM_TIMEOUT_S)
    finally:
        process.kill()
    found = COUNTS.search("".join(lines[-5:]))
    passed, failed, skipped = (int(n or 0) for n in found.groups()) if found else (0, 1, 0)
    if process.returncode != 0 and failed == 0:
        failed = 1
    counts.add(what, passed, failed, skipped)


def run_program(path, *words):
    """A lane that is one program of ours, run against the release build."""
    def run(counts):
        argv = [str(ROOT / path)] if path.endswith(".sh") else ["/usr/bin/python3", str(ROOT / path), *words]
        run_counted(path, argv, environment_of("release"), counts)
    return run


def run_interop(preset, counts, patterns=(), leave_out=()):
    argv = [*INTEROP, *(word for pattern in patterns for word in ("--only", pattern)),
            *(word for pattern in leave_out for word in ("--skip", pattern))]
    run_counted(f"interoperability ({preset})", argv, environment_of(preset), counts)


def run_recovery(preset, counts, wanted=lambda name: True):
    """The tests of recovery: they wait more than they compute, so some classes run at a time."""
    listed = subprocess.run([*INTEROP, "--list", "--only", RECOVERY], capture_output=True, text=True, check=True).stdout
    classes = list(dict.fromkeys(name.rsplit(".", 1)[0] + "." for name in listed.split() if wanted(name)))

    def run_class(name):
        lines = []
        run_counted(f"{name} ({preset})", [*INTEROP, "--only", name], environment_of(preset), counts, lines.append)
        print_line("".join(line for line in lines if not COUNTS.match(line)))

    with concurrent.futures.ThreadPoolExecutor(RECOVERY_JOBS) as pool:
        list(pool.map(run_class, classes))


def clang_format():
    """Debian 12's; another version has another opinion of what is the right layout."""
    for name in filter(shutil.which, ("clang-format-14", "clang-format")):
        if " version 14." in subprocess.run([name, "--version"], capture_output=True, text=True).stdout:
            return name
    return None


def check_headers(counts):
    before = counts.failed
    build("release", ["nbdgw_headers"], counts)
    counts.add("headers", int(counts.failed == before), 0)


def check_format(counts):
    program = clang_format()
    if program is None:
        print("skip: clang-format 14 is not there", flush=True)
        counts.add("format", 0, 0, 1)
        return
    sources = sorted(str(path) for top in ("gateway", "proto", "config", "tests")
                     for path in (ROOT / top).rglob("*.[ch]pp"))
    done = subprocess.run([program, "--dry-run", "-Werror", *sources], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        print(f"ok   {len(sources)} files", flush=True)
    else:
        print("\n".join(line for line in done.stdout.splitlines() if ": error:" in line)[:4000], flush=True)
    counts.add("format", int(done.returncode == 0), int(done.returncode != 0))


@dataclasses.dataclass(frozen=True)
class Lane:
    name: str
    what: str  # for people
    budget_min: float  # minutes that it may take where two cores are slow; above one and a half times that it is named
    run: typing.Callable[[Counts], None]
    after: str = ""  # the build whose programs it runs
    builds: bool = False  # mostly compiles: one such lane at a time, beside those that test
    gives_way: bool = False  # takes what processor time the others leave
    # Its times are looked at, and it can use both cores: no other lane that tests beside it.
    alone: bool = False


LANES = [
    Lane("build-release", "the program as it is used", 5, lambda c: build("release", ["nbdgw", "nbdgw-sim-target"], c),
         builds=True, gives_way=True),
    Lane("build-asan", "all, under AddressSanitizer and UndefinedBehaviorSanitizer", 12,
         lambda c: build("asan", [], c), builds=True, gives_way=True),
    Lane("build-tsan", "the program and the tests of threads, under ThreadSanitizer", 6,
         lambda c: build("tsan", [*(f"test_{name}" for name in THREADED), "nbdgw"], c), builds=True, gives_way=True),
    Lane("headers", "each header compiles alone", 4, check_headers, "build-release", builds=True, gives_way=True),
    Lane("build-sim", "the gateway in the simulated world", 4, lambda c: build("release", ["nbdgw-sim"], c),
         "build-release", builds=True, gives_way=True),
    Lane("debian", "the other Debian: demo, unit tests and package, all without sanitizers", 18,
         run_program("tests/debian/run.py"), builds=True),
    Lane("former", "restarts from and to the release before", 5, run_program("tests/former/run.py"), "build-release",
         builds=True, gives_way=True),
    Lane("format", "layout of the sources", 0.5, check_format),
    Lane("dashboards", "dashboards, alerts, runbooks", 1, run_program("tests/dashboards/run.py")),
    Lane("vm", "a kernel's NBD client and iSCSI target, in guests", 10, run_program("tests/vm/run.py", "--skip", ATTACH),
         "build-release", alone=True),
    Lane("attach", "disks that outlive their gateway, in guests: mostly waiting", 8,
         run_program("tests/vm/run.py", "--only", ATTACH), "build-release"),
    Lane("faults", "every fault of the embedded target, under load", 4, run_program("tests/fault/run.sh"),
         "build-release", alone=True),
    Lane("interop", "between clients and targets of others", 8,
         lambda c: run_interop("release", c, leave_out=[RECOVERY]), "build-release"),
    Lane("recovery", "connections cut, targets restarted and hung, under load", 6,
         lambda c: run_recovery("release", c), "build-release"),
    Lane("deploy", "package, manual pages, completion, examples, attach script, manifests, chart", 5,
         run_program("tests/deploy/run.py"), "build-release"),
    Lane("container", "container images", 3, run_program("tests/container/run.sh"), "build-release"),
    Lane("sim", "the simulated world: kept seeds, planted bugs, new seeds", 4, run_program("tests/sim/run.py"),
         "build-sim"),
    Lane("unit-asan", "every unit test", 8, lambda c: run_unit("asan", c), "build-asan"),
    Lane("interop-asan", "wire input, all ways of data, ends", 6, lambda c: run_interop("asan", c, ASAN_INTEROP),
         "build-asan"),
    Lane("recovery-asan", "recovery, where the code is ours", 3,
         lambda c: run_recovery("asan", c, lambda name: any(pattern in name for pattern in ASAN_RECOVERY)), "build-asan"),
    Lane("unit-tsan", "the unit tests with threads", 1, lambda c: run_unit("tsan", c, THREADED.__contains__),
         "build-tsan"),
    Lane("interop-tsan", "threads under load, verbs and ends", 3, lambda c: run_interop("tsan", c, TSAN_INTEROP),
         "build-tsan"),
]


def lane(name):
    return next((lane for lane in LANES if lane.name == name), None)
