"""Installs the peers, each in an environment of its own below tests/.cache/peers, once for each set of versions."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from .machine import REPOSITORY

HERE = Path(__file__).parent
CACHE = REPOSITORY / "tests/.cache/peers"


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


def run(argv: list, **more) -> None:
    subprocess.run([str(part) for part in argv], check=True, stdout=sys.stderr, **more)


def is_current(environment: Path, wanted: str) -> bool:
    mark = environment / "wanted"
    return mark.exists() and mark.read_text() == wanted


def fresh(environment: Path) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    environment.parent.mkdir(parents=True, exist_ok=True)


def python(peer: str) -> Path:
    """The directory of programs of a peer's Python environment."""
    requirements = HERE / "peers" / peer / "requirements.txt"
    environment, wanted = CACHE / peer, hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not is_current(environment, wanted):
        say(f"installing {peer} into {environment.relative_to(REPOSITORY)} (PyPI)")
        fresh(environment)
        run([sys.executable, "-m", "venv", environment])
        programs = environment / "bin"
        run([programs / "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
        # Compiled here, as in an image: not a part of what a start costs.
        run([programs / "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", programs / "python", "-r", requirements])
        (environment / "wanted").write_text(wanted)
    return environment / "bin"


def node(peer: str) -> Path:
    """The directory of a peer's Node packages."""
    source, environment = HERE / "peers" / peer, CACHE / peer
    wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    if not is_current(environment, wanted):
        say(f"installing {peer} into {environment.relative_to(REPOSITORY)} (npm)")
        fresh(environment)
        environment.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, environment)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=environment)
        (environment / "wanted").write_text(wanted)
    return environment / "node_modules"


def nodelay() -> Path:
    """The library that sets TCP_NODELAY for a peer that forgets to."""
    source, library = HERE / "peers/tensorzero/nodelay.c", CACHE / "nodelay.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"])
    return library


def debian(command: str, packages: list[str]) -> None:
    """Makes sure of a command that Debian has."""
    if shutil.which(command) is None:
        say(f"installing {' '.join(packages)} (Debian)")
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])


def upstream() -> None:
    from .upstream import MODULES

    if not (MODULES / "ngx_http_lua_module.so").exists():
        say("installing nginx-light libnginx-mod-http-lua (Debian)")
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nginx-light", "libnginx-mod-http-lua"])


def cargo(package: str, name: str) -> Path:
    """A release program of this repository, built if need be."""
    say(f"building {name}")
    run(["cargo", "build", "--quiet", "--locked", "--release", "--package", package, "--bin", name], cwd=REPOSITORY)
    return REPOSITORY / "target/release" / name
