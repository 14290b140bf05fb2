"""A real Kubernetes cluster on this machine, for as long as the tests run: etcd, the API server, controllers, scheduler, nodes.

It is made of programs that `tests/kube/tools` builds, and runs inside `tests/kube/isolated`, which takes everything away at
the end. Nodes are real ones (kubelet, containerd, runc; `node.py`) or pretended ones (kwok)."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pki
from support import HERE, run

ETCD = "http://127.0.0.1:2379"
# What is not up after this long will not be; a loaded machine gets all of it.
LIMIT = 240


def until(what, condition, limit=LIMIT, pause=0.25):
    """Waits for `condition` to give something; fails with its last error, or what was waited for."""
    deadline, last = time.monotonic() + limit, None
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (AssertionError, OSError, ValueError) as error:
            last = error
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {limit} s: {last}")


def is_isolated():
    """Whether there is no way out of here: no link but loopback and our own."""
    links = {link["ifname"] for link in json.loads(run("ip", "-json", "link").stdout)}
    return "eth0" not in links and not json.loads(run("ip", "-json", "route", "show", "default").stdout or "[]")


class Cluster:
    """The control plane, and what runs on it."""

    def __init__(self, place):
        if not is_isolated():
            raise AssertionError("a cluster is started inside tests/kube/isolated only")
        self.place = pathlib.Path(place)
        self.processes = {}
        for folder in ("log", "etcd"):
            (self.place / folder).mkdir(parents=True)
        self.pki = self.place / "pki"
        pki.make(self.pki)
        os.environ["KUBECONFIG"] = str(self.pki / "admin.kubeconfig")
        # Tools keep what they remember of this cluster with it.
        for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR"):
            os.environ[name] = str(self.place / name.lower())

    def start(self, name, *command, env=None):
        """Starts a part; its output is in the directory of logs."""
        log = (self.place / "log" / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                                env=os.environ | (env or {}), start_new_session=True)

    def log(self, name, lines=20):
        text = (self.place / "log" / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def up(self):
        keys = self.pki
        self.start("etcd", "etcd", "--data-dir", self.place / "etcd", "--unsafe-no-fsync", "--listen-client-urls", ETCD,
                   "--advertise-client-urls", ETCD, "--listen-peer-urls", "http://127.0.0.1:2380",
                   "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380")
        self.start("apiserver", "kube-apiserver", "--etcd-servers", ETCD, "--bind-address", "127.0.0.1", "--secure-port", "6443", "--advertise-address", "10.99.0.1",
                   "--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.96.0.0/16", "--allow-privileged=true",
                   "--tls-cert-file", keys / "api.crt", "--tls-private-key-file", keys / "api.key", "--client-ca-file", keys / "ca.crt",
                   "--kubelet-preferred-address-types", "InternalIP", "--kubelet-client-certificate", keys / "kubelet-client.crt",
                   "--kubelet-client-key", keys / "kubelet-client.key", "--token-auth-file", keys / "tokens.csv",
                   "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
                   "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", keys / "sa.key",
                   "--service-account-signing-key-file", keys / "sa.key")
        self.wait("apiserver", lambda: run("kubectl", "get", "--raw", "/readyz"))
        self.start("controllers", "kube-controller-manager", "--kubeconfig", keys / "system-kube-controller-manager.kubeconfig",
                   "--leader-elect=false", "--secure-port", "0", "--service-account-private-key-file", keys / "sa.key",
                   "--root-ca-file", keys / "ca.crt", "--use-service-account-credentials",
                   "--horizontal-pod-autoscaler-sync-period", "2s", "--node-monitor-grace-period", "20s")
        self.start("scheduler", "kube-scheduler", "--kubeconfig", keys / "system-kube-scheduler.kubeconfig",
                   "--leader-elect=false", "--secure-port", "0")
        self.wait("controllers", lambda: run("kubectl", "get", "serviceaccount", "default", "-n", "default"))
        return self

    def wait(self, name, condition):
        """Waits for what a part does; if it has ended instead, shows its log."""
        def check():
            if self.processes[name].poll() is not None:
                raise SystemExit(f"{name} ended: {self.log(name)}")
            return condition()
        return until(name, check)

    def definitions(self):
        """Installs the custom resources that the chart may make."""
        crds = run(sys.executable, HERE / "data", "crds").stdout.strip()
        run("kubectl", "apply", "--server-side", "-f", crds)
        run("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")

    def pretend_nodes(self, count):
        """Nodes in three zones that make every pod ready at once and run nothing."""
        stages = run(sys.executable, HERE / "data", "stages").stdout.strip()
        self.start("kwok", "kwok", "--kubeconfig", os.environ["KUBECONFIG"], "--config", stages, "--node-lease-duration-seconds", "40",
                   "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake")
        for number in range(count):
            resources = {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"}
            self.apply({"apiVersion": "v1", "kind": "Node", "metadata": {
                "name": f"pretended-{number}", "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": f"pretended-{number}", "kubernetes.io/os": "linux", "kind": "pretended",
                           "topology.kubernetes.io/zone": f"zone-{number % 3}"}},
                "spec": {"taints": [{"key": "pretended", "effect": "NoSchedule"}]},
                "status": {"allocatable": resources, "capacity": resources}})
        until("pretended nodes", lambda: run("kubectl", "wait", "--for=condition=Ready", "node", "-l", "kind=pretended", "--timeout=1s"))

    def apply(self, *objects, namespace="default"):
        text = "\n---\n".join(json.dumps(it) for it in objects)
        run("kubectl", "apply", "-n", namespace, "-f", "-", input=text)

    def namespace(self, name):
        """A namespace that takes only pods of the restricted profile."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}}})

    def get(self, kind, namespace, *options):
        return json.loads(run("kubectl", "get", kind, "-n", namespace, "-o", "json", *options).stdout)

    def ended(self):
        """Parts that ended by themselves, with what they said last: what fails then fails for that."""
        return {name: self.log(name) for name, process in self.processes.items() if process.poll() is not None}

    def down(self):
        """Ends the parts, what depends on others first; `isolated` ends the rest."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
