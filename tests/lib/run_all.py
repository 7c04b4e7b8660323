#!/usr/bin/python3
"""Builds, runs every kind of test in turn, and counts. tests/run.sh calls it when the packages are there."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT_TIMEOUT_S = 600
INTEROP_TIMEOUT_S = 1500
SANITIZED_RECOVERY_S = 8  # how long connections are cut, where the sanitizers look and not the clock

INTEROP = ["/usr/bin/python3", str(ROOT / "tests/interop/run.py")]
RECOVERY = "test_recovery"  # part of the names of its tests
RECOVERY_JOBS = 4

# With the sanitizers the time goes where the code is ours: wire input, every way of sending data, recovery, the end.
ASAN_INTEROP = ["Handshake", "Replies", "ReadOnly", "TgtUnsolicited.", "TgtSolicitedOnly", "TgtDigests",
                "TgtChapMutual", "Tgt4k", "IstgtDefaults", "EmbeddedTarget", "Restart", "TargetDown", "Drain", "Check",
                "Commands.test_discover", "test_admin_api.Replay", "BadInput", "test_admin_load"]
ASAN_RECOVERY = ["TgtCuts", "GhostWrite", "PowerLoss", "PathLoss"]
TSAN_INTEROP = ["TgtDefaults.test_0", "Restart.test_tgtd_once", "Drain", "TargetDown.test_sigterm",
                "test_admin_api.Replay", "test_admin_api_verbs", "test_admin_load", "test_restart.Restart.test_fio_over"]

DOCTEST = re.compile(r"\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped")
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


def headline(text):
    print(f"\n== {text}", flush=True)


def build(preset, targets, counts):
    """Configures and builds; a failure is one failed test and what hangs on it is left out."""
    headline(f"build {preset}")
    start = time.monotonic()
    commands = [["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset]]
    if targets:
        commands[1] += ["--target", *targets]
    for argv in commands:
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(done.stdout[-6000:], flush=True)
            counts.add(f"build {preset}", 0, 1)
            return False
    print(f"built in {time.monotonic() - start:.0f} s", flush=True)
    return True


def sanitizer_environment(preset):
    """Environment of programs of this preset: every finding ends the program with an error."""
    if preset == "asan":
        return {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
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
    headline(f"unit tests, {preset}")
    for name, argv in unit_tests(preset):
        if wanted(name):
            run_unit_program(preset, name, argv, counts)


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
    if status != 0:
        print(output[-8000:], flush=True)
    counts.add(f"unit {name} ({preset})", passed, failed, skipped)


def interop_environment(preset):
    environment = {"NBDGW_BIN": str(ROOT / "build" / preset / "nbdgw"), **sanitizer_environment(preset)}
    if preset == "tsan":
        environment["NBDGW_WRAP"] = " ".join(wrapped(preset, []))
    if preset != "release":
        environment["NBDGW_RECOVERY_S"] = str(SANITIZED_RECOVERY_S)
    return environment


def run_counted(what, argv, environment, counts, show):
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
        process.wait(INTEROP_TIMEOUT_S)
    finally:
        process.kill()
    found = COUNTS.search("".join(lines[-5:]))
    passed, failed, skipped = (int(n or 0) for n in found.groups()) if found else (0, 1, 0)
    if process.returncode != 0 and failed == 0:
        failed = 1
    counts.add(what, passed, failed, skipped)


def print_line(line):
    print(line, end="", flush=True)


def run_interop(preset, counts, patterns=(), leave_out=()):
    headline(f"interoperability, {preset}")
    argv = [*INTEROP, *(word for pattern in patterns for word in ("--only", pattern)),
            *(word for pattern in leave_out for word in ("--skip", pattern))]
    run_counted(f"interoperability ({preset})", argv, interop_environment(preset), counts, print_line)


def run_recovery(preset, counts, wanted=lambda name: True):
    """The tests of recovery: they wait more than they compute, so some classes run at a time."""
    headline(f"recovery, {preset}")
    listed = subprocess.run([*INTEROP, "--list", "--only", RECOVERY], capture_output=True, text=True, check=True).stdout
    classes = list(dict.fromkeys(name.rsplit(".", 1)[0] + "." for name in listed.split() if wanted(name)))

    def run_class(name):
        lines = []
        run_counted(f"{name} ({preset})", [*INTEROP, "--only", name], interop_environment(preset), counts, lines.append)
        print("".join(line for line in lines if not COUNTS.match(line)), end="", flush=True)

    with concurrent.futures.ThreadPoolExecutor(RECOVERY_JOBS) as pool:
        list(pool.map(run_class, classes))


def run_faults(preset, counts):
    headline(f"faults, {preset}")
    run_counted(f"faults ({preset})", [str(ROOT / "tests/fault/run.sh")], interop_environment(preset), counts,
                print_line)


def run_dashboards(counts):
    headline("dashboards, alerts, runbooks")
    run_counted("dashboards", ["/usr/bin/python3", str(ROOT / "tests/dashboards/run.py")], {}, counts, print_line)


def run_deploy(counts):
    headline("deploy: package, manual pages, completion, examples, attach script, manifests, chart")
    run_counted("deploy", ["/usr/bin/python3", str(ROOT / "tests/deploy/run.py")], interop_environment("release"), counts,
                print_line)


def run_vm(counts):
    headline("a kernel's NBD client and iSCSI target, in a guest")
    run_counted("vm", ["/usr/bin/python3", str(ROOT / "tests/vm/run.py")], interop_environment("release"), counts, print_line)


def run_container(counts):
    headline("container images")
    run_counted("container", [str(ROOT / "tests/container/run.sh")], interop_environment("release"), counts, print_line)


def clang_format():
    """Debian 12's; another version has another opinion of what is the right layout."""
    for name in filter(shutil.which, ("clang-format-14", "clang-format")):
        if " version 14." in subprocess.run([name, "--version"], capture_output=True, text=True).stdout:
            return name
    return None


def check_format(counts):
    headline("format")
    program = clang_format()
    if program is None:
        print("skip: clang-format 14 is not there", flush=True)
        counts.add("format", 0, 0, 1)
        return
    sources = sorted(str(path) for top in ("gateway", "proto", "config", "tests")
                     for path in (ROOT / top).rglob("*.[ch]pp"))
    done = subprocess.run([program, "--dry-run", "-Werror", *sources],
                          cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        print(f"ok   {len(sources)} files", flush=True)
    else:
        print("\n".join(line for line in done.stdout.splitlines() if ": error:" in line)[:4000], flush=True)
    counts.add("format", int(done.returncode == 0), int(done.returncode != 0))


def everything(counts):
    check_format(counts)
    run_dashboards(counts)
    if build("release", [], counts):
        run_unit("release", counts)
        run_interop("release", counts, leave_out=[RECOVERY])
        run_recovery("release", counts)
        run_faults("release", counts)
        run_vm(counts)
        run_deploy(counts)
        run_container(counts)
    if build("asan", [], counts):
        run_unit("asan", counts, lambda name: name != "layering")
        run_interop("asan", counts, ASAN_INTEROP)
        run_recovery("asan", counts, lambda name: any(pattern in name for pattern in ASAN_RECOVERY))
    if build("tsan", ["test_net", "nbdgw"], counts):
        run_unit("tsan", counts, lambda name: name == "net")
        run_interop("tsan", counts, TSAN_INTEROP)


def quick(counts):
    check_format(counts)
    run_dashboards(counts)
    if build("release", [], counts):
        run_unit("release", counts)


def only(pattern, counts):
    if build("release", [], counts):
        run_unit("release", counts, lambda name: pattern in name)
        listed = subprocess.run([*INTEROP, "--list", "--only", pattern], capture_output=True, text=True,
                                check=True).stdout
        if listed.strip():
            run_interop("release", counts, [pattern])
        if pattern in "deploy":
            run_deploy(counts)
        if pattern == "vm":
            run_vm(counts)


def main():
    parser = argparse.ArgumentParser(prog="tests/run.sh", description="Builds and runs the tests of nbdgw.")
    parser.add_argument("--quick", action="store_true", help="the unit tests, release build only, and the dashboards")
    parser.add_argument("--only", metavar="PATTERN", help="tests whose name contains this, release build only")
    options = parser.parse_args()
    counts = Counts()
    start = time.monotonic()
    if options.only:
        only(options.only, counts)
    elif options.quick:
        quick(counts)
    else:
        everything(counts)
    headline(f"done in {(time.monotonic() - start) / 60:.1f} minutes")
    for trouble in counts.troubles:
        print(trouble)
    print(counts.line())
    return 0 if counts.failed == 0 and counts.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
