"""The admin server as its users see it: curl in front, certificates made by openssl for one run."""
import dataclasses
import http.client
import json
import subprocess

from . import workdir
from .clients import ClientError

TIMEOUT_S = 30
REFUSED = (7, 28, 35, 52, 55, 56)  # curl's exit status: no connection, no TLS, or no answer


@dataclasses.dataclass
class Answer:
    status: int
    fields: dict  # by name in lower case
    body: str

    def json(self):
        return json.loads(self.body)


def curl(url, *options, unix=None, ca=None, cert=None, token=None, timeout_s=TIMEOUT_S):
    """Asks with curl; None: the server gave no answer."""
    directory = workdir.fresh("curl")
    argv = ["curl", "--silent", "--show-error", "--globoff", "--max-time", timeout_s, "--dump-header",
            directory / "head", "--output", directory / "body", *options]
    if unix:
        argv += ["--unix-socket", unix]
    if ca:
        argv += ["--cacert", ca]
    if cert:
        argv += ["--cert", cert.certificate, "--key", cert.key]
    if token:
        argv += ["--header", f"Authorization: Bearer {token}"]
    argv = [str(word) for word in [*argv, url]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s + 10)
    if done.returncode in REFUSED:
        return None
    if done.returncode != 0:
        raise ClientError(f"{' '.join(argv)}\n  exit status {done.returncode}: {done.stderr}")
    with open(directory / "head", newline="") as head:
        lines = head.read().strip().split("\r\n\r\n")[-1].split("\r\n")  # the last: a 100 may have come before
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = directory / "body"
    return Answer(int(lines[0].split()[1]), fields, body.read_text() if body.exists() else "")


def ask(port, method, path, body=None, content_type="application/json", timeout_s=TIMEOUT_S):
    """Asks quickly, without a process of its own: for what is asked many times. `body`: text, bytes, or anything else
    to be sent as JSON."""
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()},
                      answer.read().decode())
    finally:
        connection.close()


def get(port, path, timeout_s=TIMEOUT_S):
    return ask(port, "GET", path, content_type=None, timeout_s=timeout_s)


def post(port, path, body=None, **more):
    return ask(port, "POST", path, {} if body is None else body, **more)


@dataclasses.dataclass
class Identity:
    certificate: object  # paths
    key: object


class Authority:
    """Signs certificates for one run."""

    def __init__(self, name="nbdgw test authority"):
        self.directory = workdir.fresh("authority")
        self.root = self._files("root")
        self._openssl("req", "-x509", *self._new_key(self.root), "-subj", f"/CN={name}", "-days", "2",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.root.certificate)

    def sign(self, name, *addresses, rsa_bits=None):
        """An identity; `addresses` are what a server is called by, "IP:127.0.0.1" or "DNS:localhost". Its key is one of
        RSA with so many bits, or one on a curve."""
        identity = self._files(name)
        request = self.directory / f"{name}.csr"
        extension = ["-addext", f"subjectAltName={','.join(addresses)}"] if addresses else []
        self._openssl("req", *self._new_key(identity, rsa_bits), "-subj", f"/CN={name}", *extension, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.root.certificate, "-CAkey", self.root.key,
                      "-CAcreateserial", "-copy_extensions", "copy", "-days", "2", "-out", identity.certificate)
        identity.key.chmod(0o600)
        return identity

    def _files(self, name):
        return Identity(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    @staticmethod
    def _new_key(identity, rsa_bits=None):
        kind = [f"rsa:{rsa_bits}"] if rsa_bits else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        return ["-newkey", *kind, "-nodes", "-keyout", identity.key]

    @staticmethod
    def _openssl(*arguments):
        argv = ["openssl", *(str(word) for word in arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise ClientError(f"{' '.join(argv)}\n{done.stderr}")
