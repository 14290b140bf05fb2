"""The official OpenAI client against the simulator: the protocol is the protocol."""

import httpx
import openai
import pytest

from conftest import Service, ends_well


@pytest.fixture(scope="module")
def simulator():
    service = Service("simulate-llm", "--listen", "127.0.0.1:0", env={
        "POLYLOGUE__SIMULATOR__TIME_TO_FIRST_TOKEN": "1ms", "POLYLOGUE__SIMULATOR__TOKEN_GAP": "0ms",
        "POLYLOGUE__TELEMETRY__LOG_FORMAT": "json"})
    base_url = service.wait_for("simulator_started")["base_url"]
    yield openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)
    ends_well(service)


ASK = [{"role": "user", "content": "say something"}]


def test_it_answers_whole_and_streamed_the_same(simulator):
    whole = simulator.chat.completions.create(model="simulator", messages=ASK)
    assert whole.choices[0].finish_reason == "stop" and whole.usage.completion_tokens > 0
    stream = simulator.chat.completions.create(
        model="simulator", messages=ASK, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_it_follows_a_schema(simulator):
    schema = {"type": "object", "additionalProperties": False, "required": ["colour"],
              "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}}}
    answer = simulator.chat.completions.create(model="simulator", messages=ASK, response_format={
        "type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": schema}})
    assert answer.choices[0].message.content in ('{"colour":"red"}', '{"colour":"blue"}')


def test_its_faults_are_the_clients_own_errors(simulator):
    settings = simulator.base_url.join("/simulator/settings")
    httpx.put(str(settings), json={"rules": [{"fault": {"rate_limited": {"retry_after_s": 7}}, "times": 1}]}).raise_for_status()
    with pytest.raises(openai.RateLimitError) as caught:
        simulator.chat.completions.create(model="simulator", messages=ASK)
    assert caught.value.response.headers["retry-after"] == "7"
    assert simulator.chat.completions.create(model="simulator", messages=ASK).choices
