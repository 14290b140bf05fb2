"""SSE and WebSocket clients that are not ours hold a conversation."""

import asyncio
import json

import httpx
import websockets
from httpx_sse import connect_sse
from prometheus_client.parser import text_string_to_metric_families

from conftest import turn_events

ASK = {"message": "was Troy real?", "personas": ["historian", "skeptic"]}


def test_an_sse_client_reads_a_whole_turn_and_resumes_it(http):
    with connect_sse(http, "POST", "/api/v1/chat/stream", json=ASK) as source:
        turn = source.response.headers["turn-id"]
        assert source.response.headers["location"] == f"/api/v1/turns/{turn}"
        events = turn_events(source)
    kinds = [kind for _, kind, _ in events]
    assert kinds[0] == "turn.started" and kinds[1] == "routing.decided" and kinds[-1] == "turn.completed"
    assert kinds.count("reply.completed") == 2
    for persona in ASK["personas"]:
        deltas = "".join(d["text"] for _, k, d in events if k == "reply.delta" and d["persona"] == persona)
        [whole] = [d["content"] for _, k, d in events if k == "reply.completed" and d["persona"] == persona]
        assert deltas == whole != ""

    middle = len(events) // 2
    after = {"Last-Event-ID": events[middle][0]}
    with connect_sse(http, "GET", f"/api/v1/turns/{turn}/events", headers=after) as source:
        rest = turn_events(source)
    assert rest == events[middle + 1:]
    ended = http.get(f"/api/v1/turns/{turn}/events", headers={"Last-Event-ID": events[-1][0]})
    assert ended.status_code == 204


def test_a_websocket_client_runs_two_turns_at_once(service):
    async def talk():
        async with websockets.connect(service.ws, subprotocols=["polylogue.v1"]) as socket:
            assert socket.subprotocol == "polylogue.v1"
            assert json.loads(await socket.recv())["type"] == "hello"
            # A ref finds its turn again, so each is used once in all tests.
            for ref in ("python-1", "python-2"):
                frame = {"type": "chat", "ref": ref, "message": f"hello from {ref}", "personas": ["guide"]}
                await socket.send(json.dumps(frame))
            seen = {"python-1": [], "python-2": []}
            while any(not kinds or kinds[-1] != "turn.completed" for kinds in seen.values()):
                frame = json.loads(await asyncio.wait_for(socket.recv(), 20))
                assert frame["type"] != "error", frame
                seen[frame["ref"]].append(frame["type"])
            return seen

    for kinds in asyncio.run(talk()).values():
        assert kinds[0] == "turn.started" and kinds.count("reply.completed") == 1


def test_a_browserless_poller_starts_a_turn_and_reads_it_later(http):
    accepted = http.post("/api/v1/turns", json=ASK, headers={"Idempotency-Key": "poller-1"})
    assert accepted.status_code == 202
    again = http.post("/api/v1/turns", json=ASK, headers={"Idempotency-Key": "poller-1"})
    assert again.headers["turn-id"] == accepted.headers["turn-id"]
    assert again.headers["idempotent-replayed"] == "true"
    with connect_sse(http, "GET", accepted.headers["location"] + "/events") as source:
        assert turn_events(source)[-1][1] == "turn.completed"
    turn = http.get(accepted.headers["location"]).json()
    assert turn["status"] == "completed" and [r["persona"] for r in turn["replies"]] == ASK["personas"]


def test_metrics_are_accepted_by_a_scraper(service):
    text = httpx.get(service.management + "/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name: family for name, family in families.items() if name.startswith("polylogue_")}
    assert "polylogue_turns" in ours
    assert all(family.documentation and family.type != "unknown" and family.samples for family in ours.values())
