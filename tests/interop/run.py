#!/usr/bin/python3
"""Runs the interoperability tests: prints each test with its time, and last the counts.

NBDGW_BIN: the gateway to test (default build/release/nbdgw). NBDGW_SERVER=qemu-nbd: qemu-nbd in its place.
NBDGW_SEED: repeats a run's random choices. NBDGW_KEEP: keeps logs and disks. NBDGW_RECOVERY_S: how long connections are
cut under load (default 60)."""
import argparse
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import base  # noqa: E402
from lib import process  # noqa: E402


class Result(unittest.TestResult):
    """Prints as it goes; a failure at once with its reason and the logs."""

    def __init__(self):
        super().__init__()
        self.passed = 0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def addSuccess(self, test):
        self.passed += 1
        self._line("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("skip", test, reason)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._line("FAIL", test, "\n" + self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self._line("FAIL", test, "\n" + self.errors[-1][1])
        if not isinstance(test, unittest.TestCase):
            print(process.fresh_logs(), flush=True)  # setUpClass: no test case to attach the logs to

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._line("FAIL", subtest, "\n" + self._exc_info_to_string(error, test))

    def attach(self, test, logs):
        print(logs, flush=True)

    def failed(self):
        return len(self.failures) + len(self.errors)

    def _line(self, word, test, more=""):
        name = test.id() if isinstance(test, unittest.TestCase) else str(test)
        seconds = time.monotonic() - getattr(self, "started", time.monotonic())
        print(f"{word:<4} {name} ({seconds:.1f} s) {more}".rstrip(), flush=True)


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="only tests whose name contains this; may be repeated")
    parser.add_argument("--skip", action="append", default=[], metavar="PATTERN",
                        help="no tests whose name contains this; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    options = parser.parse_args()
    suite = unittest.TestSuite(
        test for test in tests_of(unittest.defaultTestLoader.discover(str(HERE), "test_*.py", str(HERE)))
        if (not options.only or any(pattern in test.id() for pattern in options.only))
        and not any(pattern in test.id() for pattern in options.skip))
    if options.list:
        print("\n".join(test.id() for test in suite))
        return 0
    print(f"server: {base.SERVER}, NBDGW_SEED={base.SEED}", flush=True)
    result = Result()
    try:
        suite.run(result)
    finally:
        process.kill_all()
    print(f"{result.passed} passed, {result.failed()} failed, {len(result.skipped)} skipped")
    return 0 if result.failed() == 0 and result.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
