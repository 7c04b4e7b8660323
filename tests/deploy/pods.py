"""What must hold for the pods beyond the schemas of Kubernetes: what its API server refuses and no schema says, the order
of start and stop, who has which privileges, and that the parts fit each other."""
import pathlib
import re
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = (ROOT / "deploy/attach/nbdgw-attach").read_text()
UID = int(re.search(r"^USER (\d+):\1$", (ROOT / "deploy/container/Dockerfile").read_text(), re.MULTILINE)[1])
HOLDS_S = 30  # what the gateway may take after preStop to finish requests and log out
ATTACH_S = 30  # what unmounting and detaching may take


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def container(pod, name):
    return next((each for each in containers(pod) if each["name"] == name), None)


def pods(found):
    """[(object, its pod's spec)] of all objects that have one."""
    return [(each, each["spec"]["template"]["spec"]) for each in found if each["kind"] in ("StatefulSet", "DaemonSet")]


def check_references(found, each, pod):
    """The API server's part: names that refer to each other, images, labels."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    used = set()
    for one in containers(pod):
        if not one.get("image"):
            yield f"{one['name']}: image is missing"
        for mount in one.get("volumeMounts", []):
            used.add(mount["name"])
            if mount["name"] not in volumes:
                yield f"{one['name']}: volumeMounts: there is no volume {mount['name']}"
            if mount.get("mountPropagation") == "Bidirectional" and not is_privileged(one):
                yield f"{one['name']}: mountPropagation Bidirectional needs privileged"
    for name in sorted(set(volumes) - used):
        yield f"volume {name}: nobody mounts it"
    names = [one["name"] for one in containers(pod)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"containers: {name} is there twice"
    labels = each["spec"]["template"]["metadata"]["labels"]
    for key, value in each["spec"]["selector"].get("matchLabels", {}).items():
        if labels.get(key) != value:
            yield f"selector: {key}={value} is not on the pods"
    maps = {one["metadata"]["name"] for one in found if one["kind"] == "ConfigMap"}
    for name in re.findall(r"'configMap': {'name': '([^']*)'", str(pod)):
        if name not in maps:
            yield f"configMap {name} is not among the objects"


def is_privileged(one):
    return one.get("securityContext", {}).get("privileged", False)


def check_privileges(pod):
    """Only attach is privileged; everybody else has the least, the gateway not even a file to write to."""
    for one in containers(pod):
        context = one.get("securityContext", {})
        if one["name"] == "attach":
            if not is_privileged(one):
                yield "attach: privileged is missing, it cannot mount"
            continue
        wanted = {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"}}
        if one["name"] != "name":  # the one that gives the folder to the gateway, and ends
            wanted |= {"runAsNonRoot": True}
        if one["name"] in ("gateway", "name"):
            wanted |= {"readOnlyRootFilesystem": True}
        if one["name"] == "gateway":
            wanted |= {"runAsUser": UID, "runAsGroup": UID}
        for key, value in wanted.items():
            if context.get(key) != value:
                yield f"{one['name']}: securityContext.{key} is {context.get(key)}, not {value}"
        if context.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{one['name']}: securityContext.capabilities.drop is not [ALL]"
        if is_privileged(one):
            yield f"{one['name']}: privileged"
    for key in ("hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is set"
    # The kernel's driver is reached in the network of the host only; nothing else has a reason for it.
    keeps = any(each == {"name": "NBDGW_WITH", "value": "nbdgw"} for one in pod.get("initContainers", ())
                for each in one.get("env", ()))
    if bool(pod.get("hostNetwork")) != keeps:
        yield "hostNetwork is set" if not keeps else "hostNetwork is not set, and nbdgw attach needs it"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    if pod.get("securityContext", {}).get("fsGroup") != UID:
        yield f"fsGroup is not {UID}, the gateway could not read its secrets"


def check_probes(pod):
    gateway = container(pod, "gateway")
    admin = [port for port in gateway.get("ports", []) if port["name"] == "admin"]
    if [port["containerPort"] for port in admin] != [9810]:
        yield "gateway: ports: admin is not 9810"
    for probe, path in (("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        if gateway.get(probe, {}).get("httpGet") != {"path": path, "port": "admin"}:
            yield f"gateway: {probe} is not GET {path}"
    command = gateway.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    limit = re.fullmatch(r"/usr/bin/nbdgw ctl --address=unix:///run/nbdgw/admin\.sock drain --until-idle=(\d+)s",
                         " ".join(command))
    if not limit:
        yield "gateway: lifecycle.preStop does not drain"
    elif int(limit[1]) + HOLDS_S > pod.get("terminationGracePeriodSeconds", 30):
        yield f"terminationGracePeriodSeconds is below {limit[1]} s of draining and {HOLDS_S} s to end"
    for one in containers(pod):
        if "memory" not in one.get("resources", {}).get("limits", {}):
            yield f"{one['name']}: resources.limits.memory is missing"
        if "cpu" in one.get("resources", {}).get("limits", {}) and one["name"] in ("gateway", "attach"):
            yield f"{one['name']}: resources.limits.cpu: throttling would stall I/O"


def check_sidecars(pod):
    """Start: gateway, attach, application. Stop: the other way round."""
    sidecars = pod.get("initContainers", [])
    if [one["name"] for one in sidecars] != ["gateway", "attach"]:
        yield f"initContainers are {[one['name'] for one in sidecars]}, not gateway and attach in this order"
        return
    for one in sidecars:
        if one.get("restartPolicy") != "Always":
            yield f"{one['name']}: restartPolicy is not Always: it is no sidecar"
        if "startupProbe" not in one:
            yield f"{one['name']}: startupProbe is missing: the next container would not wait for it"
    attach = container(pod, "attach")
    environment = {each["name"]: each.get("value") for each in attach.get("env", [])}
    for name in environment:
        if name != "TMPDIR" and not re.search(rf"^  {name} ", SCRIPT, re.MULTILINE):
            yield f"attach: env: nbdgw-attach knows no {name}"
    ready = environment.get("NBDGW_READY_FILE")
    if attach.get("startupProbe", {}).get("exec", {}).get("command") != ["test", "-e", ready]:
        yield f"attach: startupProbe does not look for {ready}"
    if int(environment.get("NBDGW_UMOUNT_WAIT") or 20) > ATTACH_S:
        yield f"attach: NBDGW_UMOUNT_WAIT is above {ATTACH_S} s"
    check = mount_of(attach, environment.get("NBDGW_MOUNT") or "")
    if check is None or check.get("mountPropagation") != "Bidirectional":
        yield "attach: NBDGW_MOUNT is not below a volume with mountPropagation Bidirectional"
    for one in pod["containers"]:
        seen = mount_of(one, environment.get("NBDGW_MOUNT") or "")
        if check and (seen is None or seen["name"] != check["name"] or seen.get("mountPropagation") != "HostToContainer"):
            yield f"{one['name']}: does not see the mount: volumeMounts needs {check['name']} with HostToContainer"


def mount_of(one, path):
    """The volume mount that a path is below (and not at: the kubelet owns the volume's own folder)."""
    fitting = [mount for mount in one.get("volumeMounts", []) if path.startswith(mount["mountPath"] + "/")]
    return max(fitting, key=lambda mount: len(mount["mountPath"]), default=None)


def check_configuration(nbdgw, found, pod):
    """What `nbdgw check` says of the configuration, laid out as the gateway sees it; the export must be there."""
    secrets = [each["path"] for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", [])
               for each in source.get("secret", {}).get("items", [])]
    node = container(pod, "name") is not None
    if node:
        secrets = ["secrets/admin-token", "secrets/array"]  # the whole Secret
    text = next((each["data"]["nbdgw.yaml"] for each in found
                 if each["kind"] == "ConfigMap" and each["metadata"]["name"] in str(pod["volumes"])), None)
    if text is None:
        yield "no ConfigMap of the pod has nbdgw.yaml"
        return
    text = text.replace("@NODE@", "worker-1.example.com") if node else text
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        (top / "secrets").mkdir()
        for name in secrets:
            (top / name).write_text("0123456789abcdef0123456789abcdef\n")
            (top / name).chmod(0o440)
        (top / "nbdgw.yaml").write_text(text)
        done = subprocess.run([nbdgw, "check", "-c", "nbdgw.yaml"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        yield from (done.stdout + done.stderr).strip().splitlines()
        return
    config = yaml.safe_load(text)
    if "http://0.0.0.0:9810" not in config["listen"]["admin"]:
        yield "listen.admin: the probes' port is not there"
    attach = container(pod, "attach")
    if attach is not None:
        name = next((each.get("value") for each in attach["env"] if each["name"] == "NBDGW_EXPORT"), None)
        if name not in [each["name"] for each in config["exports"]]:
            yield f"attach: NBDGW_EXPORT={name} is no export of nbdgw.yaml"


def judge(nbdgw, found):
    """Everything that is wrong with the pods among these objects."""
    result = []
    for each, pod in pods(found):
        result += check_references(found, each, pod)
        result += check_privileges(pod)
        result += check_probes(pod)
        result += check_sidecars(pod) if container(pod, "attach") is not None or each["kind"] == "StatefulSet" else []
        result += check_configuration(nbdgw, found, pod)
    return result
