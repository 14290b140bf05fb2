#!/usr/bin/env python3
"""Renders the chart for those who use kustomize: the base whole, and of each overlay what differs from the base. Needs Helm.

    k8s/render.py            writes base/polylogue.yaml, and of each overlay added.yaml and changed.yaml
    k8s/render.py --check    fails if they are not what it would write

What is rendered is said in the values.yaml beside each.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent / "charts" / "polylogue"
OVERLAYS = ["trial", "production"]
HEAD = "# Rendered from charts/polylogue by k8s/render.py with the values.yaml beside it; do not edit.\n"


def helm():
    return os.environ.get("HELM") or shutil.which("helm") or shutil.which("helm3") or sys.exit("helm is missing")


def rendered(folder):
    """The objects of a folder's values, by kind and name, without what only Helm needs."""
    values = ["-f", HERE / "base" / "values.yaml", "-f", folder / "values.yaml"]
    done = subprocess.run([helm(), "template", "polylogue", CHART, "--namespace", "polylogue", "--kube-version", "1.36.0",
                           "--skip-tests", *values], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found = {}
    for it in filter(None, yaml.safe_load_all(done.stdout)):
        labels = it["metadata"]["labels"]
        del it["metadata"]["namespace"], labels["helm.sh/chart"]
        labels["app.kubernetes.io/managed-by"] = "kustomize"
        found[it["kind"], it["metadata"]["name"]] = it
    return found


def difference(old, new):
    """What makes `old` of `new`, as a patch: lists whole, what is gone as null."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    changed = {key: difference(old[key], value) if key in old else value
               for key, value in new.items() if key not in old or old[key] != value}
    return changed | {key: None for key in old if key not in new}


class Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def text(objects):
    documents = (yaml.dump(it, Dumper=Dumper, sort_keys=True, width=140, allow_unicode=True) for it in objects)
    return HEAD + "---\n" + "---\n".join(documents)


def files():
    """Every file and what it should hold."""
    base = rendered(HERE / "base")
    yield HERE / "base" / "polylogue.yaml", text(base.values())
    for name in OVERLAYS:
        folder = HERE / "overlays" / name
        wanted = rendered(folder)
        if gone := base.keys() - wanted.keys():
            sys.exit(f"the overlay {name} has no {gone}, and the base has")
        patches = [{"apiVersion": it["apiVersion"], "kind": key[0], "metadata": {"name": key[1]}} | difference(base[key], it) |
                   {"metadata": difference(base[key]["metadata"], it["metadata"]) | {"name": key[1]}}
                   for key, it in wanted.items() if key in base and it != base[key]]
        yield folder / "added.yaml", text(it for key, it in wanted.items() if key not in base)
        yield folder / "changed.yaml", text(patches)


def main():
    stale = [(file, wanted) for file, wanted in files() if not file.exists() or file.read_text() != wanted]
    if "--check" in sys.argv and stale:
        sys.exit(f"{', '.join(str(file.relative_to(HERE)) for file, _ in stale)}: update with k8s/render.py")
    for file, wanted in stale:
        file.write_text(wanted)


if __name__ == "__main__":
    main()
