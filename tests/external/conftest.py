"""The service as a real process, for clients that are not ours."""

import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("POLYLOGUE_BINARY", str(ROOT / "target" / "debug" / "polylogue"))
CACHE = ROOT / "tests" / ".cache"

# A start takes well under a second; a loaded machine gets this long.
START_SECONDS = 20


class Service:
    """A running `polylogue`, found by the line that says it is ready."""

    def __init__(self, *arguments, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("POLYLOGUE", "OPENAI", "REDIS", "RUST_LOG"))}
        command = [BINARY, *arguments]
        self.process = subprocess.Popen(
            command, env=clean | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self._queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._queue.put(line)
        self._queue.put(None)

    def wait_for(self, event):
        deadline = time.monotonic() + START_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            line = self._queue.get(timeout=left)
            if line is None:
                break
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record.get("event") == event:
                return record
        raise AssertionError(f"no {event} in:\n" + "".join(self.lines))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def serve(*settings, env=None):
    """Starts the service on free ports; `settings` are `key=value`."""
    fast = ["simulator.time_to_first_token=5ms", "simulator.token_gap=1ms", "telemetry.log_format=json"]
    arguments = ["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"]
    for setting in [*fast, *settings]:
        arguments += ["--set", setting]
    service = Service("serve", *arguments, env=env)
    ready = service.wait_for("application_ready")
    service.url = f"http://{ready['listen']}"
    service.management = f"http://{ready['management_listen']}"
    service.ws = f"ws://{ready['listen']}/api/v1/chat/ws"
    return service


@pytest.fixture(scope="session")
def service():
    """One service for tests that do not change it, without limits that would get in their way."""
    running = serve("limits.policies.default.quota=1000000", "limits.policies.resume.quota=1000000",
                    "websocket.max_per_client=1000")
    yield running
    assert running.stop() == 0
    leaked = [line for line in running.lines if re.search(r'"level":"(ERROR|error)"', line)]
    assert not leaked, leaked


@pytest.fixture
def http(service):
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client
