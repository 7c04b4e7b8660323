"""The npm packages that tests need: tests/npm/package.json and its lock say which, build/npm has them."""
import fcntl
import pathlib
import shutil
import subprocess

from .clients import ClientError

ROOT = pathlib.Path(__file__).resolve().parents[2]
WANTED = ROOT / "tests" / "npm"
FOLDER = ROOT / "build" / "npm"
TIMEOUT_S = 280


def installed():
    """The folder with node_modules. Installs them if they are not those of the lock; no script of theirs is run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may share the folder
        done = FOLDER / "installed-package-lock.json"
        wanted = (WANTED / "package-lock.json").read_bytes()
        if not done.exists() or done.read_bytes() != wanted:
            done.unlink(missing_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(WANTED / name, FOLDER / name)
            argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            ended = subprocess.run(argv, cwd=FOLDER, capture_output=True, text=True, timeout=TIMEOUT_S)
            if ended.returncode != 0:
                raise ClientError(f"{' '.join(argv)} in {FOLDER}\n{ended.stdout}{ended.stderr}")
            done.write_bytes(wanted)
    return FOLDER
