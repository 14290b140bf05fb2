"""Who is compared: how each is installed and started, what was set and why, and what it does more or less than Polylogue.

Each is configured by its own documentation for production: no debug logging, no access log, no database, no callbacks,
as many workers as there are cores where workers are its way to use them.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import install, personas, polylogue, redis
from .machine import output
from .processes import Process, free_port, wait_for
from .upstream import MODELS
from .upstream import version as upstream_version

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Context:
    """What every peer is given."""

    directory: Path
    upstream: str
    upstream_process: Process
    binary: Path


@dataclass
class Running:
    """A peer that answers. `processes` are its own; `beside` are those it cannot do without, such as Redis."""

    url: str
    processes: list[Process]
    beside: list[Process] = field(default_factory=list)
    # What a model is called there.
    model: Callable[[str], str] = str
    headers: dict[str, str] = field(default_factory=dict)

    def pids(self) -> list[int]:
        return [pid for process in self.processes for pid in process.pids()]

    def memory_bytes(self) -> int:
        return sum(process.memory_bytes() for process in self.processes)

    def nice(self) -> int:
        return max((process.nice() for process in self.processes), key=abs)

    def stop(self) -> None:
        for process in [*self.processes, *self.beside]:
            process.stop()


@dataclass(frozen=True)
class Peer:
    """One of those compared."""

    name: str
    # "chat": Polylogue's interface, which can ask several personas at once; "direct": OpenAI's.
    interface: str
    version: Callable[[Context], str]
    start: Callable[[Context], Running]
    settings: str
    # What it does for a request, beside passing it on.
    does: str


def package_version(peer: str, package: str) -> Callable[[Context], str]:
    code = f"from importlib.metadata import version; print('{package}', version('{package}'))"
    return lambda context: output([str(install.python(peer) / "python"), "-c", code])


def start_upstream(context: Context) -> Running:
    return Running(context.upstream, [context.upstream_process])


def start_polylogue(context: Context) -> Running:
    started = polylogue.start(context.binary, context.directory / "polylogue", context.upstream)
    return Running(started.url, [started.process])


def start_polylogue_on_redis(context: Context) -> Running:
    directory = context.directory / "polylogue-redis"
    server, port = redis.start(directory / "redis")
    started = polylogue.start(context.binary, directory, context.upstream, f"redis://127.0.0.1:{port}")
    return Running(started.url, [started.process], [server])


def stand_in(client: str, workers: int) -> Callable[[Context], Running]:
    def start(context: Context) -> Running:
        port = free_port()
        # The same many threads and processes as cores, uvicorn's fast loop and parser, no access log.
        argv = [install.python("standin") / "uvicorn", "app:app", "--host", "127.0.0.1", "--port", port, "--workers", workers,
                "--no-access-log", "--log-level", "warning", "--timeout-worker-healthcheck", 120]
        env = {
            "OPENAI_BASE_URL": context.upstream,
            "STANDIN_PERSONAS": json.dumps(personas.models()),
            "STANDIN_CLIENT": client,
            "STANDIN_LIMIT": "1000000000/minute",
        }
        log = context.directory / f"standin-{client}.log"
        process = Process("stand-in", argv, log=log, env=env, cwd=install.HERE / "peers/standin")
        wait_for(f"http://127.0.0.1:{port}/readyz", process)
        return Running(f"http://127.0.0.1:{port}", [process])

    return start


LITELLM = """
model_list:
{models}
litellm_settings:
  set_verbose: false
  request_timeout: 600
"""


def start_litellm(context: Context) -> Running:
    models = "".join(
        f'  - model_name: {model}\n    litellm_params: {{model: "openai/{model}", api_base: "{context.upstream}", api_key: none}}\n'
        for model in MODELS
    )
    config, port = context.directory / "litellm.yaml", free_port()
    config.write_text(LITELLM.format(models=models))
    argv = [install.python("litellm") / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port,
            "--num_workers", CORES, "--timeout_worker_healthcheck", 120]
    env = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        # Neither of these is on the path of a request: prices from the package instead of the network, and no key, as elsewhere.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    process = Process("LiteLLM", argv, log=context.directory / "litellm.log", env=env, cwd=context.directory)
    wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, seconds=420)
    return Running(f"http://127.0.0.1:{port}/v1", [process])


def start_tensorzero(with_nodelay: bool) -> Callable[[Context], Running]:
    def start(context: Context) -> Running:
        name = "tensorzero-nodelay" if with_nodelay else "tensorzero"
        config, address = context.directory / f"{name}.toml", context.directory / f"{name}.address"
        config.write_text("[gateway]\nobservability.enabled = false\n" + "".join(
            f'[models.{model}]\nrouting = ["upstream"]\n[models.{model}.providers.upstream]\ntype = "openai"\n'
            f'model_name = "{model}"\napi_base = "{context.upstream}/"\napi_key_location = "none"\n'
            for model in MODELS
        ))
        address.unlink(missing_ok=True)
        argv = [install.python("tensorzero") / "python", install.HERE / "peers/tensorzero/gateway.py", config, address]
        env = {"LD_PRELOAD": str(install.nodelay())} if with_nodelay else {}
        process = Process("TensorZero", argv, log=context.directory / f"{name}.log", env=env)
        url = wait_for_text(address, process)
        return Running(url, [process], model=lambda model: f"tensorzero::model_name::{model}")

    return start


def wait_for_text(path: Path, process: Process) -> str:
    """What the process writes there when it is ready."""
    for _ in range(600):
        if path.exists() and (text := path.read_text()):
            return text.rstrip("/")
        if not process.is_running():
            break
        time.sleep(0.1)
    process.stop()
    raise RuntimeError(f"{process.name} did not start:\n{process.tail()}")


def start_portkey(context: Context) -> Running:
    port = free_port()
    argv = ["node", install.node("portkey") / "@portkey-ai/gateway/build/start-server.js", "--headless", f"--port={port}"]
    process = Process("Portkey", argv, log=context.directory / "portkey.log", env={"NODE_ENV": "production"})
    wait_for(f"http://127.0.0.1:{port}/", process)
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": context.upstream}
    return Running(f"http://127.0.0.1:{port}/v1", [process], headers=headers)


def start_vllm_router(context: Context) -> Running:
    port = free_port()
    argv = [install.python("vllm_router") / "vllm-router", "--host", "127.0.0.1", "--port", port, "--policy", "round_robin",
            "--worker-urls", context.upstream.removesuffix("/v1"), "--prometheus-port", free_port(), "--log-level", "error",
            "--max-concurrent-requests", 20000]
    process = Process("vLLM router", argv, log=context.directory / "vllm-router.log")
    wait_for(f"http://127.0.0.1:{port}/health", process)
    return Running(f"http://127.0.0.1:{port}/v1", [process])


PEERS = [
    Peer("direct", "direct", lambda context: upstream_version(), start_upstream,
         "one nginx worker with a Lua handler", "nothing: the upstream itself, asked without anything in between"),
    Peer("Polylogue", "chat", lambda context: output([str(context.binary), "--version"]), start_polylogue,
         "defaults; limits counted, too high to refuse",
         "an event log that can be resumed, history (20 messages), rate limits, idempotency, ids and metrics for every turn, "
         "one log line for each; asks the model for a stream even where the caller wants one answer"),
    Peer("Polylogue on Redis", "chat", lambda context: output(["redis-server", "--version"]).split(" sha")[0], start_polylogue_on_redis,
         "the same with a Redis on the same machine, whose CPU time is not in the row",
         "the same, and every turn, limit and message is shared with other replicas"),
    Peer("stand-in (client per request)", "chat", package_version("standin", "langgraph"), stand_in("request", 1),
         "uvicorn with uvloop and httptools, 1 worker, no access log; a ChatOpenAI made for every call",
         "history and a slowapi limit in process; no event log, no ids to resume from, no metrics"),
    Peer("stand-in (shared client)", "chat", package_version("standin", "langgraph"), stand_in("shared", CORES),
         f"the same with {CORES} workers and one ChatOpenAI for each model",
         "the same; limits and history are each worker's own"),
    Peer("LiteLLM", "direct", package_version("litellm", "litellm"), start_litellm,
         f"LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, {CORES} uvicorn workers (uvloop, httptools), no key, no database, no callbacks",
         "routing between deployments, cost of every call; no limits are set, no history, no personas"),
    Peer("TensorZero", "direct", package_version("tensorzero", "tensorzero"), start_tensorzero(False),
         "the gateway of the Python package, observability off, no authentication",
         "routing, templates and ids; no limits, no history, no personas, nothing stored"),
    Peer("TensorZero (TCP_NODELAY)", "direct", package_version("tensorzero", "tensorzero"), start_tensorzero(True),
         "the same with TCP_NODELAY forced on what it accepts (peers/tensorzero/nodelay.c): not what a user gets, but what it could do",
         "the same"),
    Peer("Portkey", "direct", lambda context: "@portkey-ai/gateway " + json.loads((install.node("portkey") / "@portkey-ai/gateway/package.json").read_text())["version"],
         start_portkey, "Node, one process (it has no workers), NODE_ENV=production, headless: no console; @hono/node-server held at 1.13.7, "
         "because its streams fail with newer ones (Portkey-AI/gateway#1389)",
         "routing by headers, retries; no limits, no history, no personas"),
    Peer("vLLM router", "direct", package_version("vllm_router", "vllm-router"), start_vllm_router,
         "round robin over one worker, log level error",
         "a load balancer: passes bytes on with circuit breaker, retries and metrics; no limits, no history, no personas"),
]
