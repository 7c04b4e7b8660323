"""Counts what passed, and prints it as it comes."""


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def note(self, what, troubles):
        """`troubles`: what is wrong, a line each; nothing: it passed."""
        if troubles:
            self.failed += 1
            print(f"FAIL {what}\n" + "\n".join(f"       {line}" for line in troubles), flush=True)
        else:
            self.passed += 1
            print(f"ok   {what}", flush=True)

    def line(self):
        return f"{self.passed} passed, {self.failed} failed"
