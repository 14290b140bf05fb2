"""Scaling and spreading over many nodes, which are pretended ones (kwok): every pod is ready there at once and runs nothing."""

import base64
import collections
import datetime
import json
import sys

import pki
import pytest

from cluster import until
from support import CHART, HERE, run
from world import explain

ANYWHERE = ["--set-json", 'tolerations=[{"key":"pretended","operator":"Exists"}]', "--set", "nodeSelector.kind=pretended"]
# Seconds in which one pod may go (in the chart: 120).
PERIOD = 15
SELECTOR = "app.kubernetes.io/component=server"


@pytest.fixture(scope="module")
def many(world):
    """Six nodes in three zones."""
    world.cluster.pretend_nodes(6)
    return world


def install(world, namespace, *options):
    world.namespace(namespace)
    done = run("helm3", "install", "chat", CHART, "-n", namespace, *ANYWHERE, "--set", "config.redis.url=redis://redis.example:6379",
               *options, check=False)
    assert done.returncode == 0, done.stderr + explain(namespace)


def zones(world, namespace, count):
    """How many pods each zone has, once there are `count`."""
    def placed():
        pods = world.cluster.get("pods", namespace, "-l", SELECTOR)["items"]
        nodes = [pod["spec"].get("nodeName") for pod in pods]
        return nodes if len(nodes) == count and all(nodes) else None
    nodes = until(f"{count} pods", placed, limit=120)
    return collections.Counter(int(node.split("-")[1]) % 3 for node in nodes), collections.Counter(nodes)


def test_six_replicas_take_six_machines_in_three_zones(many):
    install(many, "spread", "--set", "replicaCount=6")
    by_zone, by_node = zones(many, "spread", 6)
    assert set(by_zone.values()) == {2} and set(by_node.values()) == {1}, (by_zone, by_node)


@pytest.fixture(scope="module")
def metrics(many):
    """Sets what each pod says of itself, where Prometheus and its adapter would be."""
    file = many.place / "metrics.json"
    pki.issue(many.cluster.pki, "metrics", "/CN=metrics", "subjectAltName=DNS:metrics.default.svc\nextendedKeyUsage=serverAuth\n")
    keys = many.cluster.pki

    def say(sockets):
        file.write_text(json.dumps({"polylogue_websocket_connections": sockets}))
    say(0)
    many.cluster.start("metrics", sys.executable, HERE / "metrics.py", "7443", keys / "metrics.crt", keys / "metrics.key", file)
    authority = base64.b64encode((keys / "ca.crt").read_bytes()).decode()
    many.cluster.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
         "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 7443}]}},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.custom.metrics.k8s.io"},
         "spec": {"group": "custom.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                  "caBundle": authority, "service": {"name": "metrics", "namespace": "default", "port": 7443}}})
    try:
        until("the metrics", lambda: run("kubectl", "get", "--raw", "/apis/custom.metrics.k8s.io/v1beta1"))
        yield say
    finally:
        # Left behind and without an answer, it would fail whatever asks the cluster for all its kinds, as Helm does.
        run("kubectl", "delete", "apiservice", "v1beta1.custom.metrics.k8s.io")


def test_sockets_bring_pods_up_at_once_and_down_one_by_one(many, metrics):
    metrics(600)
    install(many, "sockets", "--set", "autoscaling.enabled=true,autoscaling.minReplicas=2,autoscaling.maxReplicas=6",
            "--set", "autoscaling.targetCPU=0,autoscaling.targetSockets=600",
            "--set", "autoscaling.behavior.scaleDown.stabilizationWindowSeconds=1",
            "--set-json", f'autoscaling.behavior.scaleDown.policies=[{{"type":"Pods","value":1,"periodSeconds":{PERIOD}}}]')
    until("the fewest pods", lambda: replicas(many, "sockets") == 2, limit=120)
    metrics(1500)
    until("the most pods", lambda: replicas(many, "sockets") == 6, limit=120)
    zones(many, "sockets", 6)
    # Kubernetes counts back from what there was a period ago: pods that are newer than that may all go at once.
    # Its time is told in whole seconds.
    until("a period without change", lambda: since_scaled(many, "sockets", 6) > PERIOD + 2, limit=120)
    metrics(10)
    assert until("fewer pods", lambda: (count := replicas(many, "sockets")) < 6 and count, limit=120) == 5
    events = run("kubectl", "get", "events", "-n", "sockets").stdout
    assert "pods metric polylogue_websocket_connections above target" in events, events


def since_scaled(many, namespace, count):
    """Seconds since the number of pods became `count`; the autoscaler says so some time after it did it."""
    status = many.cluster.get("hpa/chat-polylogue", namespace)["status"]
    assert status["desiredReplicas"] == count, status
    return (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(status["lastScaleTime"])).total_seconds()


def replicas(many, namespace):
    return many.cluster.get("deployment/chat-polylogue", namespace)["spec"]["replicas"]


def test_what_is_scaled_is_left_alone_by_an_upgrade(many):
    install(many, "scaled", "--set", "autoscaling.enabled=true,autoscaling.minReplicas=3")
    until("the fewest pods", lambda: replicas(many, "scaled") == 3, limit=120)
    run("kubectl", "scale", "deployment/chat-polylogue", "-n", "scaled", "--replicas=5")
    run("helm3", "upgrade", "chat", CHART, "-n", "scaled", *ANYWHERE, "--set", "config.redis.url=redis://redis.example:6379",
        "--set", "autoscaling.enabled=true,autoscaling.minReplicas=3,podAnnotations.a=b")
    assert replicas(many, "scaled") == 5
    found = many.cluster.get("hpa/chat-polylogue", "scaled")
    able = {it["type"]: it["status"] for it in found["status"]["conditions"]}
    assert able["AbleToScale"] == "True", json.dumps(found["status"])
