"""Real nodes: a kubelet, a containerd, and a bridge for the pods of each. All share the machine's (isolated) network, so that
one kube-proxy serves all."""

import json
import os
import pathlib

from cluster import until
from support import run

POD_RANGE = "10.244.0.0/16"


class Node:
    """The real node `real-N` at 10.99.0.(N+1), in a zone of its own."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.name = cluster, number, f"real-{number}"
        self.address = f"10.99.0.{number + 1}"
        self.place = cluster.place / self.name
        self.group = f"{os.environ['KUBE_GROUP']}-{self.name}"
        self.socket = self.place / "containerd.sock"
        for folder in ("cni", "state", "root", "kubelet", "pods"):
            (self.place / folder).mkdir(parents=True)

    def up(self):
        self.make_groups()
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/32", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        self.write_files()
        self.cluster.start(f"containerd-{self.number}", "containerd", "--config", self.place / "containerd.toml")
        self.cluster.wait(f"containerd-{self.number}", lambda: self.ctr("version"))
        self.cluster.start(f"kubelet-{self.number}", "kubelet", "--config", self.place / "kubelet.json", "--kubeconfig",
                           self.cluster.pki / f"system-node-{self.name}.kubeconfig", "--root-dir", self.place / "kubelet",
                           "--cert-dir", self.place / "certificates", "--hostname-override", self.name, "--node-ip", self.address,
                           "--node-labels", f"topology.kubernetes.io/zone=zone-{self.number}")
        ready = ["kubectl", "wait", "--for=condition=Ready", f"node/{self.name}", "--timeout=1s"]
        self.cluster.wait(f"kubelet-{self.number}", lambda: run(*ready))
        return self

    def make_groups(self):
        """The control groups that the kubelet wants to be there. A cpuset begins empty, which is of no use to anybody."""
        for controller in pathlib.Path("/sys/fs/cgroup").iterdir():
            if controller.is_dir() and not controller.is_symlink():
                (controller / self.group).mkdir(exist_ok=True)
                for file in ("cpuset.cpus", "cpuset.mems"):
                    if (controller / file).exists():
                        (controller / self.group / file).write_text((controller / file).read_text())

    def ctr(self, *command):
        return run("ctr", "-a", self.socket, "-n", "k8s.io", *command)

    def load(self, archive):
        """Imports an image, in place of a registry."""
        self.ctr("images", "import", archive)

    def write_files(self):
        (self.place / "resolv.conf").write_text("nameserver 10.99.0.1\n")
        (self.place / "containerd.toml").write_text(f"""
version = 3
root = '{self.place}/root'
state = '{self.place}/state'
disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.nri.v1.nri']
[grpc]
address = '{self.socket}'
[ttrpc]
address = '{self.socket}.ttrpc'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'test/pause:1'
# Where the tests themselves may not be preferred by the kernel, containers cannot be either.
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '{self.place}/cni'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
""")
        (self.place / "cni" / "10-bridge.conflist").write_text(json.dumps({
            "cniVersion": "1.0.0", "name": self.name, "plugins": [
                {"type": "bridge", "bridge": f"pods{self.number}", "isGateway": True, "hairpinMode": True, "ipam": {
                    "type": "host-local", "dataDir": str(self.place / "ipam"),
                    "ranges": [[{"subnet": f"10.244.{self.number}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "loopback"}]}))
        (self.place / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "failCgroupV1": False,
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self.group}", "cgroupsPerQOS": True,
            "containerRuntimeEndpoint": f"unix://{self.socket}", "address": self.address, "healthzPort": 0, "failSwapOn": False,
            "enforceNodeAllocatable": [], "podLogsDir": str(self.place / "pods"),
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": str(self.cluster.pki / "ca.crt")}},
            "authorization": {"mode": "Webhook"}, "clusterDNS": ["10.99.0.1"], "clusterDomain": "cluster.local",
            "resolvConf": str(self.place / "resolv.conf"), "imageGCHighThresholdPercent": 100,
            # Swaps of mounted Secrets and ConfigMaps are seen soon, for the tests of reloading.
            "syncFrequency": "5s", "configMapAndSecretChangeDetectionStrategy": "Watch"}))


def proxy(cluster):
    """kube-proxy for all nodes: they share one network. Services' addresses need a way that begins, before it is turned."""
    run("ip", "route", "add", "10.96.0.0/16", "dev", "real-0", "src", "10.99.0.1")
    file = cluster.place / "proxy.json"
    file.write_text(json.dumps({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
        "clientConnection": {"kubeconfig": str(cluster.pki / "admin.kubeconfig")}, "hostnameOverride": "real-0",
        "clusterCIDR": POD_RANGE, "bindAddress": "10.99.0.1", "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249", "conntrack": {"maxPerCore": 0}}))
    cluster.start("proxy", "kube-proxy", "--config", file)
    until("kube-proxy", lambda: run("nft", "list", "table", "ip", "kube-proxy"))
