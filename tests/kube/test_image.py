"""The image, as far as it can be looked at without a container engine."""

import fnmatch
import json
import os
import re
import shutil
import sys
import tarfile

import pytest

from support import BINARY, HERE, ROOT, run


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What a builder is sent: the tree without what .dockerignore leaves out."""
    place = tmp_path_factory.mktemp("context")
    kept = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines(), "it names what is sent, not what is not"
    for name in kept:
        source = ROOT / name
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    return place


def stage(number):
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    return text.split("\nFROM ")[number + 1]


def test_the_builder_has_everything_that_the_program_is_made_of(context):
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", stage(0), re.M)).split()
    assert all((context / name).exists() for name in copied)
    sent = {path.relative_to(context) for path in context.rglob("*") if path.is_file()}
    assert not [path for path in sent if not any(path.is_relative_to(name) for name in copied)], "sent and not copied"
    # The stage makes the files that manifests name and the context has not.
    run("sh", "-c", re.search(r"^RUN (mkdir .*touch .*)$", stage(0), re.M)[1], cwd=context)
    run("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1", cwd=context)
    for source in context.glob("src/**/*.rs"):
        for named in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            if "tests" not in source.name and ROOT / "tests" not in (source.parent / named).resolve().parents:
                assert (source.parent / named).resolve().is_relative_to(context), f"{source} includes {named}"
                assert (source.parent / named).exists(), f"{source} includes {named}"


def test_bases_can_be_named_by_digest():
    first = (ROOT / "Dockerfile").read_text().split("\nFROM ")[0]
    assert set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.M)) == {"${BUILD_BASE}", "${RUN_BASE}"}
    assert {"ARG BUILD_BASE", "ARG RUN_BASE"} <= {line.split("=")[0] for line in first.splitlines()}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The root file system and the configuration of the image that the cluster's tests run."""
    place = tmp_path_factory.mktemp("image")
    for name in ("a", "b"):
        run(sys.executable, HERE / "image.py", "polylogue", place / f"{name}.tar", "test/polylogue:1", BINARY)
    assert (place / "a.tar").read_bytes() == (place / "b.tar").read_bytes(), "the same program makes the same image"
    with tarfile.open(place / "a.tar") as archive:
        archive.extractall(place / "archive", filter="data")
    manifest = json.loads((place / "archive" / "manifest.json").read_text())[0]
    with tarfile.open(place / "archive" / manifest["Layers"][0]) as layer:
        layer.extractall(place / "root", filter="tar")
    return place / "root", json.loads((place / "archive" / manifest["Config"]).read_text())["config"]


def test_the_image_is_one_program_without_shell_or_root(image):
    root, config = image
    programs = [path for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK) and ".so" not in path.name]
    assert [str(path.relative_to(root)) for path in programs] == ["usr/bin/polylogue"]
    assert config["User"] == "65532:65532" and config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/polylogue", "healthcheck"]
    assert {"org.opencontainers.image.title", "org.opencontainers.image.revision"} <= config["Labels"].keys()
    assert not [path for path in root.rglob("*") if fnmatch.fnmatch(path.name, "*sh") and "share" not in str(path)]


def test_the_program_runs_in_it_as_its_user_with_its_arguments(image):
    root, config = image
    user, group = config["User"].split(":")
    inside = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", f"--root={root}"]
    nothing = {"PATH": os.environ["PATH"]}
    assert "polylogue" in run(*inside, *config["Entrypoint"], "--version", env=nothing).stdout
    arguments = [argument for argument in config["Cmd"] if argument != "serve"]
    said = run(*inside, *config["Entrypoint"], "check-config", *arguments, env=nothing).stdout
    assert "the configuration is right" in said
    unwell = run(*inside, *config["Healthcheck"]["Test"][1:], check=False, env=nothing)
    assert unwell.returncode == 1 and "127.0.0.1:9090/livez" in unwell.stderr, unwell
