"""A disk that takes its time under a target that we did not write: one pwrite(2) waits inside the call until the test
lets it go on."""
import pathlib
import subprocess

from . import workdir

_SOURCE = pathlib.Path(__file__).with_suffix(".c")


class SlowWrite:
    """The next write at `offset` of any file, once armed."""

    def __init__(self, offset):
        directory = workdir.fresh("slow")
        self._library = directory / "slow_pwrite.so"
        self._file = directory / "slow"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE, "-ldl"], check=True)
        self.env = {"LD_PRELOAD": str(self._library), "NBDGW_SLOW_FILE": str(self._file),
                    "NBDGW_SLOW_OFFSET": str(offset)}

    def arm(self):
        self._file.touch()

    def waiting(self):
        return self._file.with_suffix(".taken").exists()

    def go_on(self):
        self._file.with_suffix(".taken").unlink()

    def done(self):
        return self._file.with_suffix(".done").exists()
