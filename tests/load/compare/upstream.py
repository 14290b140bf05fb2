"""The fixed upstream: nginx that answers like a model server (upstream.lua)."""

import shutil
from pathlib import Path
from string import Template

from .processes import Process, free_port, wait_for

HERE = Path(__file__).parent
MODULES = Path("/usr/lib/nginx/modules")
# What a model's name asks of it: see upstream.lua.
WHOLE, STREAM, PACED = "n16-burst", "n16", "t50-g10-n16"
MODELS = (WHOLE, STREAM, PACED)


def version() -> str:
    from .machine import output

    return output(["nginx", "-v"]).removeprefix("nginx version: ")


def start(directory: Path) -> tuple[Process, str]:
    """Starts it; the address is a base URL as clients of the protocol take it."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    shutil.copy(HERE / "upstream.lua", directory)
    # nginx started by root answers as "nobody", who must be able to read upstream.lua.
    for each in (directory, directory.parent):
        each.chmod(0o755)
    conf = Template((HERE / "upstream.conf").read_text())
    # nginx has variables of its own, so only ours are filled in.
    text = conf.safe_substitute(DIRECTORY=directory, MODULES=MODULES, PORT=port)
    (directory / "nginx.conf").write_text(text)
    process = Process("upstream", ["nginx", "-c", str(directory / "nginx.conf")], log=directory / "nginx.log")
    wait_for(f"http://127.0.0.1:{port}/health", process)
    return process, f"http://127.0.0.1:{port}/v1"
