"""Clients of a test: one that waits for its answer in a thread of its own, and one that must notice nothing."""
import threading
import time

import nbd

from .unaligned import connect

BLOCK = 4096


class Asked:
    """A request in a thread of its own: what became of it, and when. `call` does it."""

    def __init__(self, call):
        self.error = None
        self.value = None
        self._over = threading.Event()

        def run():
            try:
                self.value = call()
            except nbd.Error as error:
                self.error = error
            finally:
                self._over.set()

        threading.Thread(target=run, daemon=True).start()

    def answered(self, within_s=0):
        return self._over.wait(within_s)

    def good(self):
        return self.answered() and self.error is None


class Bystander:
    """Writes, flushes and reads one block of an export over and over, while something happens to another one."""

    def __init__(self, uri):
        self.uri = uri
        self.rounds, self.longest_s, self.failure = 0, 0, None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._handle = connect(self.uri)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join(20)

    def _run(self):
        try:
            while self.failure is None:
                self._round()
                if self._stopping.wait(0.01):
                    return
        except nbd.Error as error:
            self.failure = str(error)

    def _round(self):
        begin = time.monotonic()
        data = self.rounds.to_bytes(8, "big") * (BLOCK // 8)
        self._handle.pwrite(data, 0)
        self._handle.flush()
        if bytes(self._handle.pread(BLOCK, 0)) != data:
            self.failure = "it read something else than it had written"
        self.longest_s = max(self.longest_s, time.monotonic() - begin)
        self.rounds += 1

    def judge(self, case, within_s):
        """Nothing was seen of it, no error and no pause beyond `within_s`."""
        self._stopping.set()
        self._thread.join(20)
        case.assertFalse(self._thread.is_alive(), "the other client's request is not answered")
        case.assertIsNone(self.failure, self.uri)
        case.assert_within(self.longest_s, within_s, f"{self.uri} had to wait")
