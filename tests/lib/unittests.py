"""Runs the unittest modules of a folder; the last line counts, as run_all.py wants it."""
import argparse
import sys
import unittest


class _Result(unittest.TextTestResult):
    """Counts what passed: a test with a failed subtest did not."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main(folder, description):
    """Exit status: 0 if all passed that were not skipped, and there was something to run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-k", metavar="PATTERN", action="append", help="only tests whose name contains this")
    options = parser.parse_args()
    loader = unittest.TestLoader()
    if options.k:
        loader.testNamePatterns = [f"*{pattern}*" for pattern in options.k]
    tests = loader.discover(str(folder), "test_*.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=_Result).run(tests)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.passed} passed, {failed} failed, {len(result.skipped)} skipped", flush=True)
    return 1 if failed or result.passed + len(result.skipped) == 0 else 0
