"""What lies around the service in the cluster tests: nodes with images, DNS, and outside of the cluster a Redis and a model."""

import pathlib
import subprocess
import sys

import node
import pki
import redis_kinds
from cluster import Cluster, until
from support import BINARY, HERE, run

# Where "outside" is: an address of the first node, which pods reach as they would the internet.
OUTSIDE = "10.99.0.1"
IMAGE = "ghcr.io/polylogue/polylogue"


class World:
    def __init__(self, place, real=2):
        self.place = pathlib.Path(place)
        self.cluster = Cluster(self.place).up()
        self.nodes = [node.Node(self.cluster, number).up() for number in range(real)]
        node.proxy(self.cluster)
        self.make_images()
        self.outside()
        self.cluster.definitions()
        self.key, self.entry = new_key()

    def make_images(self):
        """The version under test, the next one (the same program under another tag), Redis, and what holds a pod's network."""
        images = {"polylogue": [(f"{IMAGE}:{tag}", BINARY) for tag in ("0.1.0", "0.1.1")],
                  "plain": [("docker.io/library/redis:8.2-alpine", "/usr/bin/redis-server"), ("test/pause:1", "/usr/bin/sleep")]}
        for kind, wanted in images.items():
            for number, (name, binary) in enumerate(wanted):
                archive = self.place / f"{kind}-{number}.tar"
                options = ["infinity"] if "pause" in name else []
                run(sys.executable, HERE / "image.py", kind, archive, name, binary, *(["--", *options] if options else []))
                for machine in self.nodes:
                    machine.load(archive)
                archive.unlink()

    def outside(self):
        names = {"models.example.org": OUTSIDE, **redis_kinds.NAMES}
        self.cluster.start("dns", sys.executable, HERE / "dns.py", OUTSIDE, *(f"{name}={address}" for name, address in names.items()))
        redis_kinds.Redis(self.cluster).up()
        self.cluster.start("model", BINARY, "simulate-llm", "--listen", f"{OUTSIDE}:8000",
                           "--set", "simulator.tokens=80")
        until("the model", lambda: "simulator_started" in self.cluster.log("model"))

    def namespace(self, name):
        """A namespace with the restricted profile and the Secret that the value sets refer to."""
        self.cluster.namespace(name)
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ci-secrets"}, "stringData": {
            "api-key": "sk-not-a-key", "redis-url": f"redis://:{redis_kinds.PASSWORD}@redis.example:6379/0",
            "redis-password": redis_kinds.PASSWORD, "tracing-headers": "authorization=Bearer%20x", "token": "not-a-token-not-a-token-not-a-token",
            "ca.crt": self.read("ca.crt"), "keys.toml": self.entry, "caller-key": self.key}}, namespace=name)
        pki.issue(self.cluster.pki, name, "/CN=chat", f"subjectAltName=DNS:chat-polylogue.{name}.svc\nextendedKeyUsage=serverAuth\n")
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "ci-tls"}, "stringData": {
            "ca.crt": self.read("ca.crt"), "tls.crt": self.read(f"{name}.crt"), "tls.key": self.read(f"{name}.key")}}, namespace=name)
        return name

    def read(self, file):
        return (self.cluster.pki / file).read_text()

    def down(self):
        subprocess.run(["kubectl", "delete", "pods", "--all", "-A", "--grace-period=0", "--force", "--wait=false"],
                       capture_output=True, timeout=60)
        self.cluster.down()


def new_key():
    """An API key, and the file that lets it in."""
    said = run(BINARY, "keys", "new", "ci").stdout
    key = next(word for word in said.split() if word.startswith("plg_"))
    return key, said[said.index("[[keys]]"):]


def explain(namespace):
    """What a person would look at when something does not start."""
    parts = [run("kubectl", "-n", namespace, *command, check=False).stdout for command in (
        ["get", "pods", "-o", "wide"], ["get", "events", "--sort-by=.lastTimestamp"],
        ["logs", "-l", "app.kubernetes.io/component", "--tail=15", "--prefix", "--all-containers"])]
    return "\n".join(parts)[-6000:]
