"""The examples of configurations, and the files that they name."""
import shutil

import yaml

from lib import admin, servers

FOLDERS = (servers.ROOT / "config/examples", servers.ROOT / "deploy/examples")


def everything():
    """The paths of all examples."""
    return sorted(path for folder in FOLDERS for path in folder.glob("*.yaml"))


def named_files(value):
    """{key: path} of every `..._file` in a configuration."""
    if isinstance(value, list):
        return [pair for element in value for pair in named_files(element)]
    if not isinstance(value, dict):
        return []
    here = [(key, path) for key, path in value.items() if key.endswith("_file")]
    return here + [pair for inner in value.values() for pair in named_files(inner)]


def provide(config):
    """Makes the secrets and certificates that a configuration names; each secret is another one."""
    authority = None
    for number, (key, path) in enumerate(named_files(yaml.safe_load(config.read_text()))):
        if path.startswith("/"):
            raise AssertionError(f"{config.name}: {key}: {path} is absolute: it would do at one place only")
        file = config.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if key in ("secret_file", "token_file"):
            file.write_text(f"{number}-0123456789abcdef0123456789abcdef\n")
        else:
            authority = authority or admin.Authority()
            identity = authority.sign("server", "IP:127.0.0.1") if key == "certificate_file" else None
            if identity:
                shutil.copy(identity.certificate, file)
                shutil.copy(identity.key, file.with_suffix(".key"))
            elif key == "client_ca_file":
                shutil.copy(authority.root.certificate, file)
        file.chmod(0o640)
