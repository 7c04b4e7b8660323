"""The npm packages that tests need: package.json and lock in a folder of tests/ say which, the folder of the same name
in build/ has them."""
import fcntl
import pathlib
import shutil
import subprocess

from .clients import ClientError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT_S = 280


def installed(name="npm"):
    """The folder with node_modules. Installs them if they are not those of the lock; no script of theirs is run."""
    source, folder = ROOT / "tests" / name, ROOT / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may share the folder
        done = folder / "installed-package-lock.json"
        wanted = (source / "package-lock.json").read_bytes()
        if not done.exists() or done.read_bytes() != wanted:
            done.unlink(missing_ok=True)
            for path in source.iterdir():  # package.json, its lock, .npmrc
                shutil.copyfile(path, folder / path.name)
            argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            ended = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
            if ended.returncode != 0:
                raise ClientError(f"{' '.join(argv)} in {folder}\n{ended.stdout}{ended.stderr}")
            done.write_bytes(wanted)
    return folder
