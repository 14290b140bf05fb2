"""Starts Polylogue as it is compared: its own defaults, with limits too high to refuse, because they would be reached."""

from dataclasses import dataclass
from pathlib import Path

from . import personas
from .processes import Process, free_port, wait_for

SETTINGS = """
[server]
listen = "127.0.0.1:{port}"
management_listen = "127.0.0.1:{management}"
max_connections = 50000
max_connections_per_address = 0

[llm]
base_url = "{upstream}"
api_key = "none"
model = "n16"

[personas]
file = "{directory}/personas.toml"

[turns]
max_personas = {personas}
max_concurrent = 20000

[websocket]
max_per_client = 50000
max_total = 50000

[limits.policies.default]
quota = 1000000000

[limits.policies.resume]
quota = 1000000000

[telemetry]
log_format = "json"
"""


@dataclass(frozen=True)
class Polylogue:
    process: Process
    url: str
    management: str
    ready_after: float


def start(
    binary: Path, directory: Path, upstream: str, redis_url: str = "", more_personas: dict[str, str] | None = None, pause: float = 0.1
) -> Polylogue:
    """Starts one and waits until it is ready; `pause` is how often that is looked at."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "personas.toml").write_text(personas.as_toml(personas.models() | (more_personas or {})))
    port, management = free_port(), free_port()
    text = SETTINGS.format(port=port, management=management, upstream=upstream, directory=directory, personas=personas.COUNT)
    if redis_url:
        text += f'\n[redis]\nurl = "{redis_url}"\n'
    (directory / "polylogue.toml").write_text(text)
    argv = [str(binary), "serve", "--config", str(directory / "polylogue.toml")]
    process = Process("polylogue", argv, log=directory / "polylogue.log")
    ready_after = wait_for(f"http://127.0.0.1:{management}/readyz", process, seconds=30, pause=pause)
    return Polylogue(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{management}", ready_after)
