"""Real pods on a real cluster, in namespaces that enforce the restricted profile."""

import json
import re

import pytest

from cluster import until
from support import CHART, HELMS, HERE, ROOT, VALUE_SETS, run, value_set
from world import IMAGE, explain

FAST = ["-f", HERE / "fast-values.yaml"]
WAIT = ["--wait", "--timeout", "120s"]
# Turns, of some seconds each, in which a Redis that is there has to be found: a breaker looks again after 30 s.
TRIES = 20


def helm(version, command, namespace, *options):
    """Runs Helm on the release `chat`; a failure shows what the namespace looks like."""
    chart = [CHART] if command in ("install", "upgrade") else []
    done = run(version, command, "chat", *chart, "-n", namespace, *options, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{explain(namespace)}"
    return done.stdout


def serving(namespace, image=None):
    """Names of the pods that serve, and nothing else is left of the service."""
    pods = run("kubectl", "get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=server", "-o", "json").stdout
    pods = json.loads(pods)["items"]
    for pod in pods:
        assert all(it["status"] == "True" for it in pod["status"]["conditions"] if it["type"] == "Ready"), pod["status"]
        assert image is None or pod["spec"]["containers"][0]["image"] == image
        assert "deletionTimestamp" not in pod["metadata"]
    return [pod["metadata"]["name"] for pod in pods]


def settled(namespace):
    """Names of the pods that serve, once there are as many as there should be: an autoscaler of the release adds some by itself."""
    found = json.loads(run("kubectl", "get", "deployment,hpa", "-n", namespace, "-o", "json").stdout)["items"]
    wanted = max(it["spec"].get("replicas", 0) or it["spec"].get("minReplicas", 0) for it in found)
    pods = serving(namespace)
    return pods if len(pods) == wanted else None


def assert_it_answers(version, namespace):
    """One real turn after the other, none of which may fail, until one has the use of its Redis: a Redis of the release's own may be
    ready after the service, which then works without it for a while."""
    for _ in range(TRIES):
        said = helm(version, "test", namespace, "--timeout", "120s", "--logs")
        assert '"status": "completed"' in said and "Succeeded" in said, said
        if '"degraded": true' not in said:
            return
    raise AssertionError(f"its Redis was of no use to it: {said}")


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("name", VALUE_SETS)
def test_a_release_lives_from_install_to_uninstall(world, name, version):
    namespace = world.namespace(f"{name}-{version}")
    notes = helm(version, "install", namespace, *value_set(name), *FAST, *WAIT)
    assert "WARNING: authentication is off" in notes or name == "production", notes
    assert_it_answers(version, namespace)

    first = until("all pods", lambda: settled(namespace), limit=60)
    again = helm(version, "upgrade", namespace, *value_set(name), *FAST, *WAIT)
    assert again and settled(namespace) == first, "an upgrade that changes nothing replaces nothing"

    helm(version, "upgrade", namespace, *value_set(name), *FAST, *WAIT, "--set", "image.tag=0.1.1")
    until("the new image", lambda: serving(namespace, f"{IMAGE}:0.1.1"))
    helm(version, "rollback", namespace, "1", *WAIT)
    until("the old image", lambda: serving(namespace, f"{IMAGE}:0.1.0"))
    helm(version, "uninstall", namespace, *WAIT)
    left = run("kubectl", "get", "all,configmap,secret,ingress,pdb,hpa,networkpolicy,serviceaccount", "-n", namespace, "-o", "name",
               "-l", "app.kubernetes.io/managed-by=Helm").stdout
    assert {line for line in left.splitlines() if "test-chat" not in line} == set()


@pytest.mark.parametrize("name", ["trial", "production"])
def test_an_overlay_is_applied_by_kubectl(world, name):
    namespace = "polylogue-trial" if name == "trial" else "polylogue"
    folder = ROOT / "k8s" / "overlays" / name
    if name == "production":
        world.namespace(namespace)
        secret = world.cluster.get("secret/ci-secrets", namespace)["data"]
        data = {"llm-api-key": secret["api-key"], "redis-url": secret["redis-url"], "management-token": secret["token"],
                "keys.toml": secret["keys.toml"]}
        world.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "polylogue"}, "data": data}, namespace=namespace)
    run("kubectl", "apply", "-k", folder)
    done = run("kubectl", "rollout", "status", "deployment/polylogue", "-n", namespace, "--timeout=240s", check=False)
    assert done.returncode == 0, done.stderr + explain(namespace)
    again = run("kubectl", "diff", "-k", folder, check=False)
    changed = [line for line in again.stdout.splitlines() if re.match(r"[+-] ", line) and "generation:" not in line]
    assert not [line for line in changed if "replicas" not in line], again.stdout
    run("kubectl", "delete", "-k", folder, "--wait=false")


def test_a_pod_that_cannot_start_says_why_in_its_description(world):
    for namespace, options, words in [
        ("wrong-setting", ["--set", "config.turns.lease=2s"], ["turns.lease (2s", "must be at least 5 times turns.beat"]),
        ("wrong-flag", ["--set", "extraArgs={--set=llm.timout=1s}"], ["unknown key llm.timout (did you mean llm.timeout?)"]),
        ("wrong-persona", ["--set-json", 'personas=[{"id":"a b","name":"A","description":"x","system_prompt":"x"}]'], ["personas"]),
    ]:
        world.namespace(namespace)
        run("helm3", "install", "chat", CHART, "-n", namespace, *options)

        def told():
            described = run("kubectl", "describe", "pod", "-n", namespace, "-l", "app.kubernetes.io/component=server").stdout
            assert all(word in described for word in words) and "Exit Code:    78" in described, described
            return described
        described = until("the reason", told, limit=60)
        message = described[described.index("Message:"):described.index("Exit Code:")]
        assert all(word in message for word in words), message
        run("kubectl", "delete", "namespace", namespace, "--wait=false")


def test_a_missing_secret_is_an_event(world):
    namespace = world.namespace("no-secret")
    run("helm3", "install", "chat", CHART, "-n", namespace, "--set", "secrets.llmApiKey.existingSecret=nowhere")
    until("the event", lambda: 'secret "nowhere" not found' in run("kubectl", "get", "events", "-n", namespace).stdout, limit=60)
    run("kubectl", "delete", "namespace", namespace, "--wait=false")


def test_pods_spread_over_nodes_and_a_drain_takes_them_one_by_one(world):
    namespace = world.namespace("drained")
    helm("helm3", "install", namespace, *FAST, *WAIT, "--set", "redisTrial.enabled=true,replicaCount=2")
    pods = world.cluster.get("pods", namespace, "-l", "app.kubernetes.io/component=server")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"real-0", "real-1"}
    selector = f"--pod-selector=app.kubernetes.io/instance=chat,app.kubernetes.io/component=server"
    try:
        # Nothing may be taken while one is already missing: the budget is one.
        run("kubectl", "cordon", "real-0", "real-1")
        world.cluster.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "chat-polylogue"},
                             "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app.kubernetes.io/instance": "chat"}}}},
                            namespace=namespace)
        refused = run("kubectl", "drain", "real-1", selector, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=8s", check=False)
        assert refused.returncode and "would violate the pod's disruption budget" in refused.stderr, refused.stderr
        run("kubectl", "delete", "pdb", "chat-polylogue", "-n", namespace)
        helm("helm3", "upgrade", namespace, *FAST, "--set", "redisTrial.enabled=true,replicaCount=2")
        run("kubectl", "uncordon", "real-0")
        run("kubectl", "drain", "real-1", selector, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        until("both on the other node", lambda: len(serving(namespace)) == 2)
        pods = world.cluster.get("pods", namespace, "-l", "app.kubernetes.io/component=server")["items"]
        assert {pod["spec"]["nodeName"] for pod in pods} == {"real-0"}
    finally:
        run("kubectl", "uncordon", "real-0", "real-1")
    run("kubectl", "delete", "namespace", namespace, "--wait=false")
