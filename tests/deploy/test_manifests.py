"""deploy/kubernetes: what kustomize makes of it, against the schemas of Kubernetes, against what the pods must be, and
against the sources that parts of it come from."""
import copy
import importlib.util
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
from lib import servers

ROOT = kube.ROOT
NBDGW = os.path.abspath(servers.gateway_binary())
FORMS = ("base", "overlays/daemonset", "overlays/monitored", "overlays/kept")


def container(objects, name, kind="StatefulSet"):
    return pods.container(kube.one(objects, kind)["spec"]["template"]["spec"], name)


def pod(objects, kind="StatefulSet"):
    return kube.one(objects, kind)["spec"]["template"]["spec"]


# (what is done to the objects of the base, a word that the complaint must have)
SPOILED = (
    (lambda o: kube.one(o, "StatefulSet")["spec"].update(replicas="one"), "replicas"),
    (lambda o: kube.one(o, "StatefulSet")["spec"].update(replica=1), "replica"),
    (lambda o: kube.one(o, "StatefulSet")["spec"].pop("template"), "template"),
    (lambda o: kube.one(o, "StatefulSet").update(apiVersion="apps/v2"), "apps/v2"),
    (lambda o: kube.one(o, "StatefulSet").update(kind="Statefulset"), "Statefulset"),
    (lambda o: container(o, "gateway").update(imagePullpolicy="Always"), "imagePullpolicy"),
    (lambda o: container(o, "gateway").pop("name"), "name"),
    (lambda o: container(o, "gateway")["startupProbe"].update(periodSeconds="1s"), "periodSeconds"),
    (lambda o: container(o, "gateway")["startupProbe"]["httpGet"].update(url="/"), "url"),
    (lambda o: container(o, "gateway")["securityContext"].update(runAsUser="nbdgw"), "runAsUser"),
    (lambda o: container(o, "attach")["env"][0].update(value=1), "value"),
    (lambda o: container(o, "attach")["volumeMounts"][0].update(readonly=True), "readonly"),
    (lambda o: pod(o)["volumes"][0]["projected"].update(defaultMode="0440"), "defaultMode"),
    (lambda o: kube.one(o, "Service")["spec"]["ports"][0].update(port="admin"), "port"),
    (lambda o: kube.one(o, "ConfigMap").update(data={"nbdgw.yaml": {}}), "nbdgw.yaml"),
)
BROKEN_PODS = (
    (lambda o: container(o, "gateway").pop("image"), "gateway: image is missing"),
    (lambda o: container(o, "gateway").pop("restartPolicy"), "gateway: restartPolicy"),
    (lambda o: container(o, "attach").pop("startupProbe"), "attach: startupProbe is missing"),
    (lambda o: pod(o)["initContainers"].reverse(), "not gateway and attach in this order"),
    (lambda o: container(o, "gateway")["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
    (lambda o: container(o, "gateway")["securityContext"].update(readOnlyRootFilesystem=False),
     "readOnlyRootFilesystem"),
    (lambda o: container(o, "gateway")["securityContext"].update(privileged=True), "gateway: privileged"),
    (lambda o: container(o, "gateway")["securityContext"]["capabilities"].update(drop=[]), "capabilities.drop"),
    (lambda o: container(o, "app")["securityContext"].pop("seccompProfile"), "app: securityContext.seccompProfile"),
    (lambda o: container(o, "attach")["securityContext"].pop("privileged"), "attach: privileged is missing"),
    (lambda o: pod(o).update(hostNetwork=True), "hostNetwork is set"),
    (lambda o: container(o, "attach")["env"][0].update(value="nbdgw"), "hostNetwork is not set"),
    (lambda o: pod(o).update(terminationGracePeriodSeconds=120), "terminationGracePeriodSeconds"),
    (lambda o: container(o, "gateway")["lifecycle"]["preStop"]["exec"]["command"].pop(), "preStop does not drain"),
    (lambda o: container(o, "gateway")["livenessProbe"]["httpGet"].update(path="/readyz"), "livenessProbe"),
    (lambda o: container(o, "gateway")["resources"].pop("limits"), "resources.limits.memory"),
    (lambda o: container(o, "attach")["env"].append({"name": "NBDGW_FS", "value": "xfs"}), "knows no NBDGW_FS"),
    (lambda o: container(o, "attach")["env"][2].update(value="vol9"), "NBDGW_EXPORT=vol9"),
    (lambda o: container(o, "app")["volumeMounts"][0].pop("mountPropagation"), "HostToContainer"),
    (lambda o: container(o, "app")["volumeMounts"][0].update(mountPropagation="Bidirectional"), "needs privileged"),
    (lambda o: pod(o)["volumes"].pop(), "there is no volume"),
    (lambda o: kube.one(o, "StatefulSet")["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "x"}),
     "selector"),
    (lambda o: kube.one(o, "ConfigMap")["metadata"].update(name="other"), "configMap nbdgw-config"),
    (lambda o: kube.one(o, "ConfigMap")["data"].update(
        {"nbdgw.yaml": kube.one(o, "ConfigMap")["data"]["nbdgw.yaml"].replace("connections", "x") + "listn: {}\n"}),
     "listn"),
    (lambda o: pod(o)["volumes"][0]["projected"]["sources"][1]["secret"]["items"].pop(), "secrets/"),
)


def in_one_line(value):
    """The same with every text in one line: kustomize folds long ones anew, and PromQL does not mind."""
    if isinstance(value, dict):
        return {key: in_one_line(each) for key, each in value.items()}
    if isinstance(value, list):
        return [in_one_line(each) for each in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def spoil(objects, how):
    objects = copy.deepcopy(objects)
    how(objects)
    return objects


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kube.need()
        cls.forms = {form: kube.kustomize(kube.MANIFESTS / form) for form in FORMS}

    def test_kubernetes_takes_every_object(self):
        kube.check_taken(self, self.forms)

    def test_what_kubernetes_would_refuse_is_refused_here_with_its_key(self):
        spoiled = [spoil(self.forms["base"], how) for how, _ in SPOILED]
        found = iter(kube.complaints([each for objects in spoiled for each in objects]))
        for objects, (_, word) in zip(spoiled, SPOILED):
            with self.subTest(word):
                self.assertIn(word, " ".join(text for _ in objects for text in next(found)))

    def test_objects_of_prometheus_operator_are_judged_too(self):
        monitored = self.forms["overlays/monitored"]
        for kind, how, word in (
                ("PodMonitor", lambda o: o["spec"]["podMetricsEndpoints"][0].update(portname="x"), "portname"),
                ("PodMonitor", lambda o: o["spec"].pop("selector"), "selector"),
                ("PrometheusRule", lambda o: o["spec"]["groups"][0]["rules"][0].update(expression="1"), "expression"),
                ("PrometheusRule", lambda o: o["spec"]["groups"][0].pop("name"), "name")):
            with self.subTest(word):
                each = copy.deepcopy(kube.one(monitored, kind))
                how(each)
                self.assertIn(word, " ".join(kube.complaints([each])[0]))

    def test_pods_are_what_they_must_be(self):
        for form, objects in self.forms.items():
            with self.subTest(form):
                self.assertEqual(pods.judge(NBDGW, objects), [])

    def test_pods_that_are_not_are_found(self):
        for how, words in BROKEN_PODS:
            with self.subTest(words):
                self.assertIn(words, "\n".join(pods.judge(NBDGW, spoil(self.forms["base"], how))))

    def test_the_gateway_is_the_same_in_both_forms(self):
        beside = dict(container(self.forms["base"], "gateway"))
        node = dict(container(self.forms["overlays/daemonset"], "gateway", "DaemonSet"))
        self.assertEqual(beside.pop("restartPolicy"), "Always")
        for each in (beside, node):
            each.pop("volumeMounts")
        self.assertEqual(beside, node)

    def test_the_node_form_keeps_its_disks_over_an_update(self):
        daemonset = kube.one(self.forms["overlays/daemonset"], "DaemonSet")
        self.assertEqual(daemonset["spec"]["updateStrategy"], {"type": "OnDelete"})
        self.assertEqual(daemonset["spec"]["template"]["spec"]["priorityClassName"], "system-node-critical")

    def test_the_name_of_the_node_goes_into_the_configuration(self):
        """The init container's own script, here."""
        script = container(self.forms["overlays/daemonset"], "name", "DaemonSet")["command"]
        with tempfile.TemporaryDirectory() as folder:
            text = script[2]
            for path in ("/template", "/config", "/run/nbdgw"):
                pathlib.Path(folder + path).mkdir(parents=True)
                text = re.sub(rf"(?<![\w/]){path}\b", folder + path, text)
            pathlib.Path(folder, "template/nbdgw.yaml").write_text("name: iqn.x:@NODE@\n")
            for shell in ("dash", "bash"):
                with self.subTest(shell):
                    done = subprocess.run([shell, script[1], text], env={**os.environ, "NODE": "worker-1.example.com"},
                                          capture_output=True, text=True)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertEqual(pathlib.Path(folder, "config/nbdgw.yaml").read_text(),
                                     "name: iqn.x:worker-1.example.com\n")
                    done = subprocess.run([shell, script[1], text], env={**os.environ, "NODE": "a/b"},
                                          capture_output=True, text=True)
                    self.assertEqual(done.returncode, 1)
                    self.assertIn("a/b cannot be part", done.stderr)

    def test_what_keeps_a_disk_outlives_its_container(self):
        attach = container(self.forms["overlays/kept"], "attach")
        environment = {each["name"]: each["value"] for each in attach["env"]}
        self.assertEqual((environment["NBDGW_WITH"], environment["NBDGW_HOLD"]), ("nbdgw", "forever"))
        mounts = {each["mountPath"]: each["name"] for each in attach["volumeMounts"]}
        volumes = {each["name"]: each for each in pod(self.forms["overlays/kept"])["volumes"]}
        self.assertIn("emptyDir", volumes[mounts["/run/nbdgw-attach"]])
        # The gateway's record, too: its container is started again, the pod is not.
        mounts = {each["mountPath"]: each["name"] for each in container(self.forms["overlays/kept"], "gateway")["volumeMounts"]}
        self.assertIn("emptyDir", volumes[mounts["/run/nbdgw"]])

    def test_prometheus_finds_the_pods(self):
        monitor = kube.one(self.forms["overlays/monitored"], "PodMonitor")["spec"]
        [endpoint] = monitor["podMetricsEndpoints"]
        for form, kind in (("base", "StatefulSet"), ("overlays/daemonset", "DaemonSet")):
            template = kube.one(self.forms[form], kind)["spec"]["template"]
            labels = template["metadata"]["labels"]
            self.assertLessEqual(monitor["selector"]["matchLabels"].items(), labels.items())
            self.assertEqual(labels[monitor["jobLabel"]], "nbdgw")  # the alerts ask for this job
            ports = pods.container(template["spec"], "gateway")["ports"]
            self.assertIn(endpoint["port"], [port["name"] for port in ports])
        sources = pod(self.forms["base"])["volumes"][0]["projected"]["sources"]
        secret = next(source["secret"] for source in sources if "secret" in source)
        credentials = endpoint["authorization"]["credentials"]
        self.assertEqual(credentials["name"], secret["name"])
        self.assertIn(credentials["key"], [item["key"] for item in secret["items"]])

    def test_alerts_are_those_of_the_dashboards(self):
        path = kube.MANIFESTS / "components/alerts/build.py"
        spec = importlib.util.spec_from_file_location("build_alerts", path)
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        self.assertEqual((path.parent / "prometheusrule.yaml").read_text(), build.text(), f"run {path}")
        rules = ROOT / "dashboards/prometheus"
        groups = [group for name in ("recording.rules.yaml", "alerting.rules.yaml")
                  for group in yaml.safe_load((rules / name).read_text())["groups"]]
        spec = kube.one(self.forms["overlays/monitored"], "PrometheusRule")["spec"]
        self.assertEqual(in_one_line(spec), in_one_line({"groups": groups}))

    def test_dashboards_are_those_of_the_dashboards_folder(self):
        maps = [each for each in self.forms["overlays/monitored"]
                if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
        data = {name: text for each in maps for name, text in each["data"].items()}
        files = {path.name: path.read_text() for path in (ROOT / "dashboards/grafana").glob("*.json")}
        self.assertEqual(data, files)
        for each in maps:  # kubectl apply keeps a copy in an annotation, and annotations end at 256 KiB
            self.assertLess(len(str(each)), 200_000)

    def test_the_whole_manifest_is_what_the_base_comes_to(self):
        path = kube.MANIFESTS / "sidecar.yaml"
        self.assertEqual(kube.objects(path.read_text()), self.forms["base"], "kubectl kustomize base > sidecar.yaml")

    def test_the_overlay_of_the_readme_works(self):
        """Its files, as they stand there, beside the other overlays."""
        text = (kube.MANIFESTS / "README.md").read_text()
        files = dict(re.findall(r"^```yaml (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        self.assertEqual(set(files), {"kustomization.yaml", "nbdgw.yaml", "application.yaml"})
        with tempfile.TemporaryDirectory() as top:
            for path in (kube.MANIFESTS, ROOT / "dashboards/grafana"):
                shutil.copytree(path, pathlib.Path(top) / path.relative_to(ROOT))
            overlay = pathlib.Path(top, "deploy/kubernetes/overlays/mine")
            overlay.mkdir()
            for name, content in files.items():
                (overlay / name).write_text(content)
            objects = kube.kustomize(overlay)
        self.assertEqual([found for found in kube.complaints(objects) if found], [])
        self.assertEqual(pods.judge(NBDGW, objects), [])
        self.assertEqual([container(objects, name)["image"] for name in ("gateway", "attach", "app")],
                         ["registry.example.com/nbdgw:0.1.0", "registry.example.com/nbdgw-attach:0.1.0",
                          "registry.example.com/database:17"])
        self.assertEqual(container(objects, "app")["command"], ["database", "--data=/disks/data"])
        self.assertEqual({each["metadata"].get("namespace") for each in objects}, {"storage"})

    def test_versions_are_those_of_the_program(self):
        version = re.search(r"^project\(nbdgw VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]
        for form, kind, names in (("base", "StatefulSet", ("gateway", "attach")),
                                  ("overlays/daemonset", "DaemonSet", ("gateway", "name"))):
            for name in names:
                self.assertEqual(container(self.forms[form], name, kind)["image"].split(":")[1], version)
