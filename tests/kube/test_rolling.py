"""Three pods on one Redis are upgraded, drained, killed and starved while clients of every kind talk to them. Nothing is lost."""

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from clients import Ledger, load
from cluster import until
from support import CHART, HERE, run
from world import IMAGE, explain

NAMESPACE = "rolling"
# A turn takes about two seconds, so that most of what happens, happens within one.
VALUES = ["-f", HERE / "rolling-values.yaml", "--wait", "--timeout", "300s"]
SELECTOR = "app.kubernetes.io/component=server"


@pytest.fixture(scope="module")
def service(world):
    """The service on three pods behind a Service and behind haproxy; gives both addresses."""
    world.namespace(NAMESPACE)
    done = run("helm3", "install", "chat", CHART, "-n", NAMESPACE, *VALUES, check=False)
    assert done.returncode == 0, done.stderr + explain(NAMESPACE)
    address = world.cluster.get("service/chat-polylogue", NAMESPACE)["spec"]["clusterIP"]
    world.cluster.start("haproxy", "haproxy", "-db", "-f", HERE / "haproxy.cfg")
    until("haproxy", lambda: run("curl", "-sf", "http://10.99.0.1:8080/readyz"))
    yield {"service": f"http://{address}", "haproxy": "http://10.99.0.1:8080"}
    run("helm3", "uninstall", "chat", "-n", NAMESPACE, check=False)


def pods(world):
    return [it for it in world.cluster.get("pods", NAMESPACE, "-l", SELECTOR)["items"]
            if "deletionTimestamp" not in it["metadata"]]


def is_ready(pod):
    return any(it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", []))


def settled(world, image=None):
    """Three pods are ready and no other is left."""
    def check():
        found = world.cluster.get("pods", NAMESPACE, "-l", SELECTOR)["items"]
        return len(found) == 3 and all(map(is_ready, found)) and (
            image is None or all(it["spec"]["containers"][0]["image"] == image for it in found))
    until("three ready pods", check, limit=180)


@contextlib.contextmanager
def at_least(world, count):
    """So many pods are ready at any time."""
    counts, over = [], threading.Event()

    def look():
        while not over.wait(0.3):
            counts.append(sum(map(is_ready, pods(world))))
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
    assert min(counts) >= count, f"only {min(counts)} pods were ready"


def upgrade(world):
    """An upgrade that changes the image, and back."""
    with at_least(world, 3):
        run("helm3", "upgrade", "chat", CHART, "-n", NAMESPACE, *VALUES, "--set", "image.tag=0.1.1")
        settled(world, f"{IMAGE}:0.1.1")
        run("helm3", "rollback", "chat", "-n", NAMESPACE, "--wait", "--timeout", "300s")
        settled(world, f"{IMAGE}:0.1.0")


def drain(world):
    """The machine with the most pods is drained."""
    machine, _ = collections.Counter(it["spec"]["nodeName"] for it in pods(world)).most_common(1)[0]
    try:
        run("kubectl", "drain", machine, f"--pod-selector={SELECTOR}", "--ignore-daemonsets", "--timeout=180s")
        settled(world)
    finally:
        run("kubectl", "uncordon", machine)


def delete(world):
    """A pod is torn out: no signal, no time."""
    run("kubectl", "delete", "pod", "-n", NAMESPACE, pods(world)[0]["metadata"]["name"], "--force", "--grace-period=0")
    settled(world)


def starve(world):
    """A pod's memory runs out: a program that the kernel may not kill fills it up."""
    victim = pods(world)[0]
    container = victim["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    group = next(pathlib.Path("/sys/fs/cgroup").glob(f"memory/{os.environ['KUBE_GROUP']}-*/**/{container}"))
    hog = subprocess.Popen([sys.executable, HERE / "hog.py", group], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    name = victim["metadata"]["name"]

    def killed():
        state = world.cluster.get(f"pod/{name}", NAMESPACE)["status"]["containerStatuses"][0]
        return state["restartCount"] > victim["status"]["containerStatuses"][0]["restartCount"] and state["lastState"]["terminated"]
    try:
        assert until("the kill", killed, limit=60)["reason"] == "OOMKilled"
    finally:
        hog.kill()
    settled(world)


@pytest.mark.parametrize("way", ["service", "haproxy"])
@pytest.mark.parametrize("fault", [upgrade, drain, delete, starve])
def test_no_turn_is_lost(world, service, fault, way):
    settled(world)
    ledger = asyncio.run(load(Ledger(service[way], world.key), lambda: fault(world)))
    said = ledger.sum()
    print(f"\n{fault.__name__} behind {way}: {json.dumps(said)}")
    if report := os.environ.get("KUBE_REPORT"):
        pathlib.Path(report).open("a").write(f"{fault.__name__} behind {way}: {json.dumps(said)}\n")
    assert len(ledger.turns) > 20
    if fault in (upgrade, drain):
        # Stops are announced: nothing but a refusal that says so, and sockets that are asked to move.
        assert not [it for it in ledger.incidents() if not it.endswith(" refused: draining")], said
        assert ledger.moves["closed 1012"] >= 1 and not ledger.moves["closed none"], said
