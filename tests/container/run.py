"""Tests of the container images: see run.sh."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent)]

from lib import case  # noqa: E402

if __name__ == "__main__":
    sys.exit(case.run(HERE, "container images", case.parser(__doc__).parse_args(), may_skip_all=True))
