"""Every value set is a chart that others' tools accept and that the program itself understands."""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import render
import yaml

from support import (BINARY, CHART, HELMS, HERE, KUBERNETES, ROOT, VALUE_SETS, objects, run, template, value_set)

MINORS = run("bash", "-c", f"source {HERE}/versions; echo $KUBERNETES_MINORS").stdout.split()
every_set = pytest.mark.parametrize("name", VALUE_SETS)
every_helm = pytest.mark.parametrize("helm", HELMS)


@every_set
@every_helm
def test_helm_finds_nothing_to_complain_of(helm, name):
    run(helm, "lint", "--strict", *KUBERNETES, CHART, *value_set(name))


@every_set
def test_rendering_is_the_same_each_time_and_with_each_helm(name):
    first, second, other = (template(*value_set(name), helm=helm).stdout for helm in ("helm3", "helm3", "helm4"))
    assert first == second

    def parsed(text):
        return sorted((json.dumps(it, sort_keys=True) for it in yaml.safe_load_all(text) if it))
    assert parsed(first) == parsed(other)


@pytest.fixture(scope="session")
def schemas():
    return pathlib.Path(run(sys.executable, HERE / "data", "schemas").stdout.strip())


@every_set
@pytest.mark.parametrize("minor", MINORS)
def test_every_field_is_known_to_kubernetes(minor, name, schemas):
    rendered = template(*value_set(name)).stdout
    place = f"{schemas}/{minor}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    said = run("kubeconform", "-strict", "-summary", "-output", "json", "-schema-location", place, input=rendered).stdout
    summary = json.loads(said)["summary"]
    assert summary["valid"] > 3 and summary["invalid"] == summary["errors"] == summary["skipped"] == 0, said


def mount(found, place):
    """Writes the files that a pod would see, and gives the paths they are found at."""
    data = {}
    for (kind, name), it in found.items():
        if kind in ("ConfigMap", "Secret"):
            decoded = {key: base64.b64decode(value).decode() for key, value in it.get("data", {}).items()} \
                if kind == "Secret" else it["data"]
            data[kind, name] = decoded
    key = run(BINARY, "keys", "new", "ci").stdout
    stand_ins = {"keys.toml": key[key.index("[[keys]]"):], "redis-url": "redis://:secret@redis.example:6379",
                 "tracing-headers": "authorization=Bearer%20x"}
    spec = next(it for (kind, name), it in found.items() if kind == "Deployment" and not name.endswith("-redis"))
    pod = spec["spec"]["template"]["spec"]
    mounts = {it["name"]: it["mountPath"] for it in pod["containers"][0]["volumeMounts"]}
    for volume in pod["volumes"]:
        base = place / mounts[volume["name"]].lstrip("/")
        base.mkdir(parents=True)
        for name, text in data.get(("ConfigMap", volume.get("configMap", {}).get("name")), {}).items():
            (base / name).write_text(text)
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                held = data.get(("Secret", source["secret"]["name"]), {})
                file = base / item["path"]
                file.parent.mkdir(exist_ok=True)
                file.write_text(held.get(item["key"]) or stand_ins.get(item["key"], "stand-in-for-a-secret-of-32-bytes"))
    for file in place.rglob("*.toml"):
        file.write_text(file.read_text().replace('"/etc/polylogue', f'"{place}/etc/polylogue'))
    return place / "etc/polylogue/config/polylogue.toml", pod["containers"][0]


@every_set
def test_the_program_understands_its_configuration(name, tmp_path):
    file, container = mount(objects(*value_set(name)), tmp_path)
    flags = [flag for flag in container["args"] if flag.startswith("--set")]
    said = run(BINARY, "check-config", "--config", file, *flags, env={"PATH": os.environ["PATH"]}).stdout
    assert "the configuration is right" in said


def test_a_parent_chart_can_use_it(tmp_path):
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "polylogue").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({
        "apiVersion": "v2", "name": "parent", "version": "1.0.0",
        "dependencies": [{"name": "polylogue", "version": "0.1.0", "condition": "polylogue.enabled"}]}))
    (tmp_path / "values.yaml").write_text("global: {imageRegistry: mirror.example, ours: 1}\npolylogue: {enabled: true}\n")
    found = template(chart=tmp_path).stdout
    assert "image: mirror.example/polylogue/polylogue:0.1.0" in found
    assert "kind: Deployment" not in template(chart=tmp_path, polylogue__enabled="false").stdout


def test_the_readme_and_the_schema_are_what_the_values_say():
    run(sys.executable, ROOT / "charts" / "generate.py", "--check")


def test_the_kustomizations_are_what_the_chart_says():
    run(sys.executable, ROOT / "k8s" / "render.py", "--check")


@pytest.mark.parametrize("folder", ["base", "overlays/trial", "overlays/production"])
@pytest.mark.parametrize("minor", MINORS)
def test_kustomize_builds_what_kubernetes_knows(minor, folder, schemas):
    built = run("kubectl", "kustomize", ROOT / "k8s" / folder).stdout
    place = f"{schemas}/{minor}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    run("kubeconform", "-strict", "-schema-location", place, input=built)


@pytest.mark.parametrize("name", render.OVERLAYS)
def test_an_overlay_is_what_the_chart_makes_of_its_values(name):
    folder = ROOT / "k8s" / "overlays" / name
    built = run("kubectl", "kustomize", folder).stdout
    # Kustomize names generated ConfigMaps after their content.
    built = re.sub(r"polylogue-settings-[a-z0-9]{10}", "polylogue-settings", built)
    found = {(it["kind"], it["metadata"]["name"]): it for it in yaml.safe_load_all(built)}
    for it in found.values():
        it["metadata"].pop("namespace", None)
    del found["Namespace", "polylogue-trial" if name == "trial" else "polylogue"]
    found.pop(("ConfigMap", "polylogue-settings"), None)
    assert found == render.rendered(folder)


def example_values():
    """The values in the examples, by file."""
    folder = ROOT / "k8s" / "examples"
    yield "keda-values.yaml", yaml.safe_load((folder / "keda-values.yaml").read_text()) | {"config": {"redis": {"url": "redis://cache:6379"}}}
    for it in yaml.safe_load_all((folder / "argo-cd.yaml").read_text()):
        yield "argo-cd.yaml", it["spec"]["source"]["helm"]["valuesObject"]
    for it in yaml.safe_load_all((folder / "flux.yaml").read_text()):
        if it["kind"] == "HelmRelease":
            yield "flux.yaml", it["spec"]["values"]


def test_the_values_in_the_examples_are_ones_that_the_chart_takes(tmp_path):
    found = dict(example_values())
    assert found.keys() == {file.name for file in (ROOT / "k8s" / "examples").iterdir()}
    for name, values in found.items():
        (tmp_path / name).write_text(yaml.safe_dump(values))
        kinds = {kind for kind, _ in objects("-f", tmp_path / name)}
        assert {"Deployment", "PodDisruptionBudget"} < kinds and kinds & {"ScaledObject", "HorizontalPodAutoscaler"}, name


# What kube-score asks for and the chart does not give: docs/kubernetes.md says why.
EXCEPTIONS = set(re.findall(r"^\| `([a-z-]+)` \| \S", (ROOT / "docs" / "kubernetes.md").read_text().split("## What a policy scan says")[1], re.M))


def complaints(name):
    """What kube-score finds in a value set, by check."""
    done = subprocess.run(["kube-score", "score", "--kubernetes-version", "v1.36", "-o", "json", "-"],
                          input=template(*value_set(name)).stdout, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found, done.stderr
    return {(check["check"]["id"], it["object_name"]) for it in found for check in it["checks"]
            if not check["skipped"] and check["grade"] < 10}


def test_a_policy_scan_finds_what_is_explained_and_nothing_else():
    found = {complaint for name in VALUE_SETS for complaint in complaints(name)}
    assert not [complaint for complaint in found if complaint[0] not in EXCEPTIONS]
    assert {check for check, _ in found} == EXCEPTIONS, "an exception that nothing needs"
