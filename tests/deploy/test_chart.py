"""deploy/helm/nbdgw, rendered by the real helm: its objects against the schemas of Kubernetes and against the manifests,
its values against their schema."""
import copy
import importlib.util
import json
import operator
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

import kube
import pods
from test_manifests import NBDGW, in_one_line

ROOT = kube.ROOT
VALUES = yaml.safe_load((kube.CHART / "values.yaml").read_text())
NODE = {"form": "daemonset"}
WATCHED = {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "alerts": {"enabled": True},
           "dashboards": {"enabled": True}}
OTHER = {
    "image": {"repository": "registry.example.com/nbdgw", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {"initiator": {"name": "iqn.2026-11.com.example:other"}, "limits": {"memory": 83886080},
               "targets": [{"name": "t", "iqn": "iqn.2026-11.com.example:t", "portals": ["192.0.2.1", "192.0.2.2:3261"],
                            "connections": 8, "timeouts": {"command": "10s"}}],
               "exports": [{"name": "a", "target": "t", "lun": 0}, {"name": "b", "target": "t", "lun": 256}]},
    "secret": {"name": "other", "keys": ["admin-token"]},
    "attach": {"export": "b", "mount": "b", "fstype": "xfs", "makeFilesystem": False, "owner": "", "connections": 4,
               "timeoutSeconds": 1000, "blockSize": 4096, "mountOptions": "noatime"},
    "containers": [{**VALUES["containers"][0], "name": "db", "volumeMounts": [{"name": "scratch", "mountPath": "/s"}]}],
    "volumes": [{"name": "scratch", "emptyDir": {}}],
    "podLabels": {"team": "x"}, "podAnnotations": {"note": "y"}, "nodeSelector": {"nbd": "true"},
    "tolerations": [{"key": "storage", "operator": "Exists"}], "affinity": {"nodeAffinity": {}},
}
NAME = operator.itemgetter("name")
KEPT = {"attach": {"kept": True}}
FORMS = {"sidecar": {}, "kept": KEPT, "daemonset": NODE, "watched": WATCHED, "other": OTHER, "watched daemonset": {**NODE, **WATCHED}}

# (values, what the complaint must name)
REFUSED_BY_SCHEMA = (
    ({"form": "deployment"}, "form"),
    ({"replicas": 2}, "replicas"),
    ({"image": {"repo": "x"}}, "repo"),
    ({"image": {"repository": ""}}, "repository"),
    ({"attachImage": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"config": {"listen": {"nbd": ["tcp://0.0.0.0"]}}}, "listen"),
    ({"config": {"exports": [{"name": "a", "target": "t"}]}}, "lun"),
    ({"config": {"exports": [{"name": "a", "target": "t", "lun": "1"}]}}, "lun"),
    ({"config": {"targets": [{**VALUES["config"]["targets"][0], "portal": "x"}]}}, "portal"),
    ({"config": {"targets": [{**VALUES["config"]["targets"][0], "timeouts": {"command": 15}}]}}, "command"),
    ({"secret": {"keys": ["../x"]}}, "keys"),
    ({"gateway": {"drainSeconds": "120"}}, "drainSeconds"),
    ({"gateway": {"resources": {"limits": {"memory": None}}}}, "limits"),
    ({"attach": {"blockSize": 1000}}, "blockSize"),
    ({"attach": {"fstype": "btrfs"}}, "fstype"),
    ({"attach": {"mount": "../etc"}}, "mount"),
    ({"attach": {"owner": "root"}}, "owner"),
    ({"attach": {"timeout": 30}}, "timeout"),
    ({"attach": {"connections": 0}}, "connections"),
    ({"attach": {"kept": "yes"}}, "kept"),
    ({"attach": {"hold": "300"}}, "hold"),
    ({"containers": []}, "containers"),
    ({"containers": [{"name": "x"}]}, "image"),
    ({"volumes": [{"name": "disks", "emptyDir": {}}]}, "volumes"),
    ({"node": {"socketFolder": "run/nbdgw"}}, "socketFolder"),
    ({"podMonitor": {"enabled": "yes"}}, "enabled"),
    ({"podMonitor": {"interval": "15"}}, "interval"),
)
REFUSED_BY_TEMPLATES = (
    ({"terminationGracePeriodSeconds": 100}, "terminationGracePeriodSeconds is 100"),
    ({"secret": {"keys": ["array"]}}, "secret.keys must have admin-token"),
    ({"attach": {"export": "vol9"}}, 'attach.export is "vol9", but config.exports has only data'),
)


def merged(base, more):
    """As helm merges values; null takes a key away."""
    if not isinstance(base, dict) or not isinstance(more, dict):
        return more
    result = copy.deepcopy(base)
    for key, value in more.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def render(values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        return kube.helm("--values", file.name)


class Chart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kube.need()
        cls.forms = {form: render(values) for form, values in FORMS.items()}

    def test_kubernetes_takes_every_object(self):
        kube.check_taken(self, self.forms)

    def test_pods_are_what_they_must_be(self):
        for form, objects in self.forms.items():
            with self.subTest(form):
                self.assertEqual(pods.judge(NBDGW, objects), [])

    def test_with_its_own_values_it_is_the_manifests(self):
        """What may differ: names, labels, and what the chart says where the manifests leave it at the default."""
        for form, chart, kind in (("base", "sidecar", "StatefulSet"), ("overlays/kept", "kept", "StatefulSet"),
                                  ("overlays/daemonset", "daemonset", "DaemonSet")):
            manifest = kube.one(kube.kustomize(kube.MANIFESTS / form), kind)["spec"]["template"]["spec"]
            rendered = kube.one(self.forms[chart], kind)["spec"]["template"]["spec"]
            for each in pods.containers(rendered):
                with self.subTest(f"{form}: {each['name']}"):
                    theirs = copy.deepcopy(pods.container(manifest, each["name"]))
                    ours = {key: value for key, value in each.items() if key != "imagePullPolicy"}
                    for one in (ours, theirs):
                        if one["name"] == "attach":
                            one["env"] = {item["name"]: item["value"] for item in one["env"]}
                            one["volumeMounts"].sort(key=NAME)
                    if ours["name"] == "attach":
                        defaults = {"NBDGW_MOUNT_OPTIONS": "", "NBDGW_BLOCK_SIZE": "512", "NBDGW_UMOUNT_WAIT": "20"}
                        if chart != "kept":
                            defaults |= {"NBDGW_CONNECTIONS": "1", "NBDGW_TIMEOUT": "0"}
                        theirs["env"] = defaults | theirs["env"]
                    self.assertEqual(ours, theirs)
            volumes = [re.sub("one-nbdgw|nbdgw-node-config|nbdgw-config", "NAME", str(sorted(one["volumes"], key=NAME)))
                       for one in (rendered, manifest)]
            self.assertEqual(yaml.safe_load(volumes[0]), yaml.safe_load(volumes[1]))
            for key in ("terminationGracePeriodSeconds", "securityContext", "automountServiceAccountToken",
                        "priorityClassName", "hostNetwork", "dnsPolicy"):
                self.assertEqual(rendered.get(key), manifest.get(key), key)

    def test_each_node_has_an_initiator_name_of_its_own(self):
        config = yaml.safe_load(kube.one(self.forms["daemonset"], "ConfigMap")["data"]["nbdgw.yaml"])
        self.assertEqual(config["initiator"], {"name": VALUES["config"]["initiator"]["name"] + ".@NODE@"})

    def test_values_arrive(self):
        pod = kube.one(self.forms["other"], "StatefulSet")["spec"]["template"]
        text = json.dumps(pod)
        for word in ('"image": "registry.example.com/nbdgw:1.2.3"', '"imagePullPolicy": "Always"',
                     '"imagePullSecrets": [{"name": "registry"}]', '"team": "x"', '"note": "y"', '"nbd": "true"',
                     '"key": "storage"', '"name": "scratch"', '"secret": {"name": "other"'):
            self.assertIn(word, text)
        environment = {each["name"]: each["value"] for each in pods.container(pod["spec"], "attach")["env"]}
        self.assertLessEqual({"NBDGW_EXPORT": "b", "NBDGW_MOUNT": "/disks/b", "NBDGW_FSTYPE": "xfs",
                              "NBDGW_CONNECTIONS": "4", "NBDGW_TIMEOUT": "1000", "NBDGW_BLOCK_SIZE": "4096",
                              "NBDGW_MOUNT_OPTIONS": "noatime"}.items(), environment.items())
        self.assertNotIn("NBDGW_MKFS", environment)
        config = yaml.safe_load(kube.one(self.forms["other"], "ConfigMap")["data"]["nbdgw.yaml"])
        self.assertLessEqual(OTHER["config"].items(), config.items())

    def test_alerts_and_dashboards_are_those_of_the_dashboards_folder(self):
        spec = kube.one(self.forms["watched"], "PrometheusRule")["spec"]
        manifest = kube.one(kube.kustomize(kube.MANIFESTS / "overlays/monitored"), "PrometheusRule")["spec"]
        self.assertEqual(in_one_line(spec), in_one_line(manifest))
        data = {name: text.strip() for each in self.forms["watched"] for name, text in each.get("data", {}).items()
                if name.endswith(".json")}
        files = {path.name: path.read_text().strip() for path in (ROOT / "dashboards/grafana").glob("*.json")}
        self.assertEqual(data, files)

    def test_prometheus_finds_the_pods(self):
        for form, kind in (("watched", "StatefulSet"), ("watched daemonset", "DaemonSet")):
            monitor = kube.one(self.forms[form], "PodMonitor")
            self.assertEqual(monitor["metadata"]["labels"].get("release"), "prometheus")
            labels = kube.one(self.forms[form], kind)["spec"]["template"]["metadata"]["labels"]
            self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), labels.items())
            self.assertEqual(labels[monitor["spec"]["jobLabel"]], "nbdgw")

    def test_wrong_values_are_refused_by_helm_with_their_key(self):
        for values, word in REFUSED_BY_SCHEMA:
            with self.subTest(values):
                with self.assertRaises(kube.ToolError) as caught:
                    render(values)
                self.assertIn("don't meet the specifications of the schema", str(caught.exception))
                self.assertIn(word, str(caught.exception))
        for values, words in REFUSED_BY_TEMPLATES:
            with self.subTest(values):
                with self.assertRaises(kube.ToolError) as caught:
                    render(values)
                self.assertIn(words, str(caught.exception))

    def test_ajv_judges_values_alike(self):
        schema = json.loads((kube.CHART / "values.schema.json").read_text())
        good = list(FORMS.values())
        values = [merged(VALUES, each) for each in good + [each for each, _ in REFUSED_BY_SCHEMA]]
        done = subprocess.run(["node", pathlib.Path(__file__).with_name("values.mjs"), kube.folder()],
                              input=json.dumps({"schema": schema, "values": values}), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual(found[:len(good)], [[]] * len(good))
        for complaints, (values, word) in zip(found[len(good):], REFUSED_BY_SCHEMA):
            with self.subTest(values):
                self.assertIn(word, " ".join(complaints))

    def test_schema_is_built_from_that_of_the_configuration(self):
        path = ROOT / "deploy/helm/build_schema.py"
        spec = importlib.util.spec_from_file_location("build_schema", path)
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        self.assertEqual((kube.CHART / "values.schema.json").read_text(), build.text(), f"run {path}")

    def test_every_value_is_described_and_strict(self):
        def look(schema, where):
            for name, each in schema.get("properties", {}).items():
                if where != "config" and not where.startswith("config."):
                    self.assertIn("description", each, f"{where}.{name}")
                look(each, f"{where}.{name}".strip("."))
            if "properties" in schema and where not in ("containers", "volumes"):
                self.assertIs(schema.get("additionalProperties"), False, where)

        schema = json.loads((kube.CHART / "values.schema.json").read_text())
        look(schema, "")
        self.assertLessEqual(set(VALUES), set(schema["properties"]))

    def test_lint_and_notes(self):
        kube.run("helm", "lint", "--strict", kube.CHART)
        for values, word in (("form=sidecar", "exec one-nbdgw-0 -c gateway"), ("form=daemonset", "/run/nbdgw/nbd.sock")):
            with self.subTest(values), tempfile.TemporaryDirectory() as folder:
                # helm shows notes to a cluster only: here they are rendered as an object's text.
                copied = pathlib.Path(folder, "chart")
                shutil.copytree(kube.CHART, copied)
                (copied / "templates/NOTES.txt").rename(copied / "files/notes")
                (copied / "templates/notes.yaml").write_text('notes: {{ tpl (.Files.Get "files/notes") . | toJson }}\n')
                text = kube.objects(kube.run("helm", "template", "one", copied, "--namespace", "storage", "--set", values,
                                             "--show-only", "templates/notes.yaml"))[0]["notes"]
                self.assertIn("-n storage create secret generic nbdgw-secrets", text)
                self.assertIn("--from-file=array=./array", text)
                self.assertIn(word, text)

    def test_versions_are_those_of_the_program(self):
        version = re.search(r"^project\(nbdgw VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]
        chart = yaml.safe_load((kube.CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))
        self.assertTrue(os.path.exists(kube.CHART / "files/overview.json"))
