"""What people and models say is in no line of the log, whatever the door it came through."""

import asyncio
import json

import httpx
import websockets
from httpx_sse import connect_sse

from conftest import UNLIMITED, ends_well, serve, turn_events

CANARY = "xylophone-quokka-7391"


def test_nothing_that_is_said_is_in_the_log_even_at_debug():
    service = serve(*UNLIMITED, env={"RUST_LOG": "debug"})
    said = {CANARY}
    with httpx.Client(base_url=service.url, timeout=30) as client:
        said |= ask_over_http(client)
        provoke_problems(client)
    said |= asyncio.run(ask_over_a_socket(service))
    assert len(said) > 2, "answers were looked at"
    ends_well(service, said)


def ask_over_http(client):
    ask = {"message": f"is {CANARY} real?", "conversation_id": "canaries", "metadata": {"note": CANARY}}
    whole = client.post("/api/v1/chat", json=ask).raise_for_status().json()
    with connect_sse(client, "POST", "/api/v1/chat/stream", json=ask | {"personas": ["guide"]}) as source:
        events = turn_events(source)
    added = client.post("/api/v1/conversations/canaries/messages", json={"role": "user", "content": CANARY})
    assert added.status_code == 201
    replies = [reply["content"] for reply in whole["replies"]]
    replies += [data["content"] for _, kind, data in events if kind == "reply.completed"]
    return {start_of(reply) for reply in replies}


def provoke_problems(client):
    bad = [{"message": CANARY, CANARY: 1}, {"message": CANARY, "personas": [CANARY]}, {"message": [CANARY]}]
    for body in bad:
        assert client.post("/api/v1/chat", json=body).status_code == 400
    broken = client.post("/api/v1/chat", content='{"message": "' + CANARY, headers={"Content-Type": "application/json"})
    assert broken.status_code == 400
    for answer in (broken, client.get("/api/v1/personas/guide", headers={"Authorization": f"Bearer {CANARY}"})):
        assert CANARY not in answer.text


async def ask_over_a_socket(service):
    replies = set()
    async with websockets.connect(service.ws, subprotocols=["polylogue.v1"]) as socket:
        await socket.send(json.dumps({"type": CANARY}))
        await socket.send(json.dumps({"type": "chat", "ref": "a", "message": CANARY, "personas": ["skeptic"]}))
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 20))
            if frame["type"] == "reply.completed":
                replies.add(start_of(frame["content"]))
            if frame["type"] == "turn.completed":
                return replies


def start_of(reply):
    """Enough of an answer to be found again where a line would cut it."""
    assert len(reply) > 30
    return reply[:30]
