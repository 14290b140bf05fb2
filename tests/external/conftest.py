"""The service as a real process, for clients that are not ours."""

import atexit
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "polylogue"
CACHE = ROOT / "tests" / ".cache"

# A start takes well under a second; a loaded machine gets this long.
START_SECONDS = 20


def free_port():
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Service:
    """A running `polylogue`, found by the line that says it is ready."""

    def __init__(self, *arguments, env=None):
        ours = ("POLYLOGUE", "OPENAI", "REDIS", "RUST_LOG", "OTEL")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.process = subprocess.Popen([BINARY, *arguments], env=clean | (env or {}), text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # A test that fails before it stops what it started leaves nothing behind.
        atexit.register(self.process.kill)
        self.lines = []
        # Whether somebody reads what it writes.
        self.listens = True
        self._queue = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._queue.put(line)
            if not self.listens:
                return
        self._queue.put(None)

    def wait_for(self, event):
        deadline = time.monotonic() + START_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._queue.get(timeout=left)
            except queue.Empty:
                break
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


def ends_well(service, said=()):
    """Stops it and reads its whole log: no error, no panic, and nothing of what was `said`."""
    assert service.stop() == 0
    service.reader.join(10)
    assert service.lines, "a service that says nothing cannot be checked"
    for line in service.lines:
        assert line.startswith("{"), f"not a line of the log: {line}"
        assert json.loads(line)["level"] != "error", line
        assert "panic" not in line, line
        for text in said:
            assert text not in line, f"content in the log: {line}"


def turn_events(source):
    """A turn's events from an SSE source, as (id, event, data).

    httpx-sse also gives an event without data for a block that only has a `retry` field or a comment; the
    specification says to dispatch nothing then.
    """
    return [(event.id, event.event, json.loads(event.data)) for event in source.iter_sse() if event.data]


# Without limits that would get in the tests' way.
UNLIMITED = ["limits.policies.default.quota=1000000", "limits.policies.resume.quota=1000000",
             "websocket.max_per_client=1000", "websocket.max_frames_per_second=1000"]


@pytest.fixture(scope="session")
def service():
    """One service for the tests that change nothing in it."""
    running = serve(*UNLIMITED)
    yield running
    ends_well(running)


@pytest.fixture
def http(service):
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client
