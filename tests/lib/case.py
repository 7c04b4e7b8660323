"""What every test case of ours stands on, and the runner that prints each with its time and counts at the end."""
import argparse
import faulthandler
import os
import random
import time
import unittest

from . import pace, process, workdir

# A test that takes longer hangs, perhaps inside a library that nothing else interrupts: the whole run ends with the
# stack of every thread, and the children with it.
HUNG_S = 300
SEED = int(os.environ.get("NBDGW_SEED", random.SystemRandom().randrange(1 << 32)))


class Case(unittest.TestCase):
    """A test case that, when it fails, keeps the scratch directory and shows the new log lines of every child."""
    longMessage = True
    maxDiff = 2000

    def run(self, result=None):
        process.mark_logs()
        faulthandler.dump_traceback_later(HUNG_S, exit=True)
        before = len(result.failures) + len(result.errors)
        super().run(result)
        faulthandler.cancel_dump_traceback_later()
        if len(result.failures) + len(result.errors) > before:
            workdir.keep()
            result.attach(self, process.fresh_logs())
        return result

    def use(self, resource):
        """Starts something with __enter__, and ends it with the test."""
        return self.enterContext(resource)

    def assert_within(self, took_s, limit_s, what="it"):
        """It took less than that, or as much longer as this machine is slower than the limit's."""
        limit_here_s = pace.limit_here(took_s, limit_s)
        if took_s > limit_here_s:
            self.fail(f"{what}: {took_s:.2f} s of {limit_s} s ({limit_here_s:.2f} s on this machine)")


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


def run(folder, banner, arguments, may_skip_all=False):
    """Runs the tests of a folder as the arguments say; returns the exit status: 0 if all passed that were not skipped,
    and some passed. `may_skip_all`: or all were skipped, for what a machine's lack of tools may rule out as a whole."""
    suite = unittest.TestSuite(
        test for test in tests_of(unittest.defaultTestLoader.discover(str(folder), "test_*.py", str(folder)))
        if (not arguments.only or any(pattern in test.id() for pattern in arguments.only))
        and not any(pattern in test.id() for pattern in arguments.skip))
    if arguments.list:
        print("\n".join(test.id() for test in suite))
        return 0
    print(f"{banner}, NBDGW_SEED={SEED}", flush=True)
    result = Result()
    try:
        suite.run(result)
    finally:
        process.kill_all()
    print(f"{result.passed} passed, {result.failed()} failed, {len(result.skipped)} skipped")
    done = result.passed + (len(result.skipped) if may_skip_all else 0)
    return 0 if result.failed() == 0 and done > 0 else 1


def parser(description):
    """The command line that choosing tests has in common."""
    common = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="only tests whose name contains this; may be repeated")
    common.add_argument("--skip", action="append", default=[], metavar="PATTERN",
                        help="no tests whose name contains this; may be repeated")
    common.add_argument("--list", action="store_true", help="print the names and end")
    return common
