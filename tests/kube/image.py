#!/usr/bin/env python3
"""Makes container images without a container engine: docker-archives that containerd imports.

    image.py polylogue OUT.tar NAME:TAG BINARY    what the Dockerfile's last stage says, on the libraries that the binary needs
    image.py plain OUT.tar NAME:TAG BINARY [-- ARGUMENT...]
                                                  a program of this machine (Redis, one that does nothing) with its libraries

The base of the Dockerfile is distroless: C libraries, authorities, a user. The same is taken from this machine, so that what
runs is the program as a user without a shell meets it.
"""

import hashlib
import io
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
AUTHORITIES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
PASSWD = b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"


def libraries(binary):
    """The shared libraries of a program, by the path it looks for them at."""
    said = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    return {pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", said)}


def dockerfile():
    """The last stage's instructions, as the image's configuration."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    stage = text.split("\nFROM ")[-1].splitlines()[1:]
    arguments, config, copied = {}, {"Labels": {}, "ExposedPorts": {}}, []
    for line in stage:
        word, _, rest = line.partition(" ")
        match word:
            case "ARG":
                name, _, value = rest.partition("=")
                arguments[name] = value
            case "LABEL":
                for part in shlex.split(rest):
                    name, _, value = part.partition("=")
                    config["Labels"][name] = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], value)
            case "COPY":
                copied.append(rest.split()[-1])
            case "USER":
                config["User"] = rest
            case "EXPOSE":
                config["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
            case "STOPSIGNAL":
                config["StopSignal"] = rest
            case "ENTRYPOINT":
                config["Entrypoint"] = json.loads(rest)
            case "CMD":
                config["Cmd"] = json.loads(rest)
            case "HEALTHCHECK":
                config["Healthcheck"] = {"Test": ["CMD", *json.loads(rest[rest.index("["):])]}
            case "" | "#":
                pass
            case _:
                sys.exit(f"the Dockerfile's last stage has an instruction that is not understood here: {line}")
    if copied != [config["Entrypoint"][0]]:
        sys.exit(f"the Dockerfile's last stage copies {copied}, not just the program")
    return config


def entry(name, size=0, mode=0o755, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(str(name).lstrip("/"))
    info.size, info.mode, info.type, info.mtime = size, mode, kind, 0
    return info


def layer(files):
    """A layer with these files (path to bytes and mode) and the directories they are in; the same bytes each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folders = {parent for path in files for parent in pathlib.Path(path).parents if str(parent) != "/"}
        for folder in sorted(folders | {pathlib.Path("/tmp")}):
            tar.addfile(entry(folder, mode=0o1777 if str(folder) == "/tmp" else 0o755, kind=tarfile.DIRTYPE))
        for path, (data, mode) in sorted(files.items()):
            tar.addfile(entry(path, len(data), mode), io.BytesIO(data))
    return out.getvalue()


def archive(out, reference, files, config):
    body = layer(files)
    description = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(body).hexdigest()]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests/kube/image.py"}]}).encode()
    name = hashlib.sha256(description).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(out, "w") as tar:
        for part, data in ((name, description), ("layer.tar", body), ("manifest.json", manifest)):
            tar.addfile(entry(part, len(data), 0o644), io.BytesIO(data))
    return len(body)


def program(place, binary):
    files = {path: (path.read_bytes(), 0o755) for path in libraries(binary)}
    return files | {pathlib.Path(place): (pathlib.Path(binary).read_bytes(), 0o755)}


def main(kind, out, reference, binary, *arguments):
    files = {pathlib.Path("/etc/passwd"): (PASSWD, 0o644), AUTHORITIES: (AUTHORITIES.read_bytes(), 0o644)}
    if kind == "polylogue":
        config = dockerfile()
        files |= program(config["Entrypoint"][0], binary)
    else:
        place = f"/usr/bin/{pathlib.Path(binary).name}"
        config = {"User": "65532:65532", "Env": ["PATH=/usr/bin"], "Entrypoint": [place], "Cmd": list(arguments[1:])}
        files |= program(place, binary)
    size = archive(out, reference, files, config)
    print(f"{reference}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[1] not in ("polylogue", "plain"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
