"""The chart as its users see it: rendered by Helm."""

import json
import os
import pathlib
import subprocess

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = ROOT / "charts" / "polylogue"
VALUE_SETS = sorted(path.stem.removesuffix("-values") for path in (CHART / "ci").glob("*-values.yaml"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Whichever was built last.
BINARY = max((TARGET / kind / "polylogue" for kind in ("debug", "release")),
             key=lambda path: path.stat().st_mtime if path.exists() else 0)
# Helm was built without its release's stamp, and would take some older Kubernetes for granted.
KUBERNETES = ["--kube-version", "1.36.0"]
HELMS = ["helm3", "helm4"]


def run(*command, check=True, **options):
    """Runs a program; a failure shows what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def value_set(name):
    return ["-f", CHART / "ci" / f"{name}-values.yaml"]


def arguments(values):
    """`{"a.b": 1}` as `--set`; text stays text."""
    for key, value in values.items():
        nested = isinstance(value, (dict, list))
        yield from ("--set-json", f"{key}={json.dumps(value)}") if nested else ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")


def template(*options, helm="helm3", release="chat", namespace="chat", check=True, chart=CHART, **values):
    """What Helm would send to the API server, as text."""
    settings = [part for key, value in values.items() for part in arguments({key.replace("__", "."): value})]
    return run(helm, "template", release, chart, "-n", namespace, *KUBERNETES, *options, *settings, check=check)


def objects(*options, **values):
    """The rendered objects by kind and name."""
    documents = yaml.safe_load_all(template(*options, **values).stdout)
    return {(it["kind"], it["metadata"]["name"]): it for it in documents if it}


def refusal(*options, **values):
    """What is said of values that are refused."""
    done = template(*options, check=False, **values)
    assert done.returncode, "these values were taken"
    return done.stderr


def deployment(*options, **values):
    return next(it for (kind, name), it in objects(*options, **values).items()
                if kind == "Deployment" and not name.endswith("-redis"))


def pod(*options, **values):
    return deployment(*options, **values)["spec"]["template"]["spec"]


def settings(*options, **values):
    """The program's configuration as the chart writes it."""
    return next(it["data"]["polylogue.toml"] for (kind, _), it in objects(*options, **values).items()
                if kind == "ConfigMap" and "polylogue.toml" in it["data"])
