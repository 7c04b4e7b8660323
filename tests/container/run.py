"""The images: see run.sh."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent)]

from lib import unittests  # noqa: E402

if __name__ == "__main__":
    sys.exit(unittests.main(HERE, "Tests of the container images."))
