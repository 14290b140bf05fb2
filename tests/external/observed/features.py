"""Every feature used a known number of times, each written down in the ledger as it is used."""

import asyncio
import json
import socket

import websockets
from httpx_sse import connect_sse

from conftest import turn_events
from observed.prometheus import until

CHAT = 'http_requests_total{{method="POST",route="/api/v1/chat",job="replicas",status="{}"}}'
ROUTING = "You decide who answers"
STORY = {"says": ["Once ", "upon ", "a time."], "pause_after": 1}


def turns(ledger, outcome, personas=("guide",), transport=None, count=1):
    """A turn of these personas ended this way on a replica."""
    ledger.exactly(f'turns_total{{job="replicas",outcome="{outcome}"}}', count)
    ledger.exactly(f'turn_duration_seconds_count{{job="replicas",outcome="{outcome}"}}', count)
    ledger.exactly('turn_overhead_seconds_count{job="replicas"}', count)
    for persona in personas:
        ledger.exactly(f'replies_total{{job="replicas",persona="{persona}",outcome="{outcome}"}}', count)
    ledger.exactly('reply_overhead_seconds_count{job="replicas"}', count * len(personas))
    if transport:
        ledger.exactly(f'turn_time_to_first_token_seconds_count{{job="replicas",transport="{transport}"}}', count)


def routed(ledger, source, count=1):
    ledger.exactly(f'routing_decisions_total{{job="replicas",source="{source}"}}', count)
    ledger.exactly(f'routing_duration_seconds_count{{job="replicas",source="{source}"}}', count)


def called(ledger, outcome, count=1, cause="first", upstream="primary"):
    labels = f'job="replicas",upstream="{upstream}",outcome="{outcome}"'
    ledger.exactly(f'llm_requests_total{{{labels},cause="{cause}"}}', count)


def ask_and_wait(one, model, ledger):
    for _ in range(2):
        assert one.ask(personas=["guide"]).status_code == 200
    ledger.exactly(CHAT.format(200), 2)
    turns(ledger, "completed", transport="json", count=2)
    routed(ledger, "explicit", 2)
    called(ledger, "ok", 2)
    assert one.ask(personas=["nobody"]).status_code == 400
    ledger.exactly(CHAT.format(400))
    ledger.exactly('turns_rejected_total{job="replicas",reason="unknown_persona"}')


def ask_three_and_follow(one, model, ledger):
    body = {"message": "@guide @skeptic @historian was Troy real?"}
    with connect_sse(one.http, "POST", "/api/v1/chat/stream", json=body) as source:
        assert turn_events(source)[-1][1] == "turn.completed"
    turns(ledger, "completed", ("guide", "skeptic", "historian"), "sse")
    routed(ledger, "mention")
    called(ledger, "ok", 3)
    ledger.exactly('sse_streams_opened_total{job="replicas"}')
    ledger.exactly('sse_streams_closed_total{job="replicas",reason="completed"}')
    ledger.exactly('sse_stream_duration_seconds_count{job="replicas"}')


def let_the_model_choose(one, model, ledger):
    for message, source, rules in (
        ("who knows about ships?", "model", []),
        ("who knows about ships?", "cache", []),
        ("who knows about bread?", "model", [{"when_contains": ROUTING, "says": ["nonsense"], "times": 1}]),
        ("who knows about stars?", "fallback", [{"when_contains": ROUTING, "says": ["nonsense"], "times": 2}]),
    ):
        model.rules(*rules)
        answer = one.ask(message).json()
        assert answer["routing"]["source"] == source, answer["routing"]
        turns(ledger, "completed", [reply["persona"] for reply in answer["replies"]], "json")
        routed(ledger, source)
        ledger.exactly(CHAT.format(200))
        called(ledger, "ok", len(answer["replies"]) + (source != "cache"))
        if rules:
            called(ledger, "ok", cause="repair")


def repeat_a_request(one, model, ledger):
    key = {"Idempotency-Key": "9f1c6e0e-ledger"}
    bodies = [{"message": "once", "personas": ["guide"]}] * 2 + [{"message": "another", "personas": ["guide"]}]
    statuses = [one.post("chat", headers=key, **body).status_code for body in bodies]
    assert statuses[:2] == [200, 200] and statuses[2] in (409, 422), statuses
    for outcome in ("first", "replayed", "reused"):
        ledger.exactly(f'idempotency_requests_total{{job="replicas",outcome="{outcome}"}}')
    ledger.exactly('turns_rejected_total{job="replicas",reason="idempotency_key_reused"}')
    ledger.exactly(CHAT.format(200), 2)
    ledger.exactly(CHAT.format(statuses[2]))
    turns(ledger, "completed", transport="json")
    routed(ledger, "explicit")
    called(ledger, "ok")


def cancel_what_is_read_elsewhere(one, other, model, ledger, prometheus):
    """A turn that stops in the middle: it is busy, followed by another replica, left, resumed and cancelled."""
    model.rules(STORY)
    turn = one.post("turns", message="tell", personas=["guide"], conversation_id="told").headers["turn-id"]
    until("it speaks", lambda: "Once" in one.http.get(f"/api/v1/turns/{turn}").text)
    assert one.ask("me too", conversation_id="told").status_code == 409
    ledger.exactly('turns_rejected_total{job="replicas",reason="busy"}')
    ledger.exactly(CHAT.format(409))
    with connect_sse(other.http, "GET", f"/api/v1/turns/{turn}/events", headers={"Last-Event-ID": "1-2"}) as source:
        source.response.raise_for_status()
        for series in ("turns_in_flight", "turnlog_followed", "sse_streams", "llm_requests_in_flight"):
            until(series, lambda: prometheus.value(f'sum(polylogue_{series}{{job="replicas"}})') == 1)
            ledger.seen(f'{series}{{job="replicas"}}')
    ledger.exactly('sse_resumes_total{job="replicas",outcome="resumed"}', 2)
    ledger.exactly('sse_streams_opened_total{job="replicas"}')
    ledger.exactly('sse_streams_closed_total{job="replicas",reason="client_gone"}')
    ledger.exactly('sse_stream_duration_seconds_count{job="replicas"}', 2)
    assert other.http.post(f"/api/v1/turns/{turn}/cancel").status_code in (200, 202)
    until("it is cancelled", lambda: one.http.get(f"/api/v1/turns/{turn}").json()["status"] == "cancelled")
    model.rules()
    turns(ledger, "cancelled", transport="json")
    routed(ledger, "explicit")
    called(ledger, "cancelled")
    with connect_sse(one.http, "GET", f"/api/v1/turns/{turn}/events", headers={"Last-Event-ID": "1-2"}) as source:
        assert turn_events(source)[-1][1] == "turn.cancelled"
    ledger.exactly('sse_streams_opened_total{job="replicas"}')
    ledger.exactly('sse_streams_closed_total{job="replicas",reason="completed"}')


def keep_a_conversation(one, model, ledger):
    assert one.http.post("/api/v1/conversations/kept/messages", json={"role": "user", "content": "hi"}).status_code == 201
    assert one.http.get("/api/v1/conversations/kept/messages").status_code == 200
    assert one.http.delete("/api/v1/conversations/kept").status_code == 204
    route = "/api/v1/conversations/{id}"
    ledger.exactly(f'http_requests_total{{job="replicas",route="{route}",method="DELETE",status="204"}}')
    ledger.exactly(f'http_requests_total{{job="replicas",route="{route}/messages",status="200"}}')
    ledger.exactly('memory_operations_total{job="replicas",backend="redis",operation="clear",outcome="ok"}')
    ledger.moved('memory_operations_total{job="replicas",backend="redis",operation="add"}',
                 'memory_operations_total{job="replicas",backend="redis",operation="history"}')


def survive_a_bad_attempt(one, model, ledger):
    """Attempts that fail in each way, and one that follows and succeeds."""
    for fault, outcome in (({"rate_limited": {"retry_after_s": 0}}, "throttled"), ("server_error", "broken"), ("stall", "timeout")):
        model.rules({"fault": fault, "times": 1})
        assert one.ask(personas=["guide"]).status_code == 200, outcome
        called(ledger, outcome)
        ledger.exactly(f'llm_retries_total{{job="replicas",reason="{outcome}"}}')
        ledger.exactly(CHAT.format(200))
        turns(ledger, "completed", transport="json")
        routed(ledger, "explicit")
    model.rules({"fault": "refuse_request", "times": 1})
    assert one.ask(personas=["guide"]).status_code >= 500
    called(ledger, "refused")
    turns(ledger, "failed")
    routed(ledger, "explicit")
    ledger.moved('llm_requests_total{job="replicas",cause="retry",outcome="ok"}', least=3)


def talk_on_a_socket(one, model, ledger, prometheus):
    asyncio.run(_talk(one, ledger, prometheus))
    turns(ledger, "completed", transport="websocket")
    routed(ledger, "explicit")
    called(ledger, "ok")


async def _talk(one, ledger, prometheus):
    async with websockets.connect(one.ws, subprotocols=["polylogue.v1"]) as line:
        for frame in ({"type": "ping"}, {"type": "chat", "ref": "a", "message": "hi", "personas": ["guide"]},
                      {"type": "nonsense"}):
            await line.send(json.dumps(frame))
        got = {}
        while not got.get("turn.completed"):
            frame = json.loads(await asyncio.wait_for(line.recv(), 20))
            got[frame["type"]] = frame
        for frame in ({"type": "resume", "ref": "b", "turn_id": got["turn.completed"]["turn_id"]},
                      {"type": "cancel", "ref": "c", "turn_id": got["turn.completed"]["turn_id"]}):
            await line.send(json.dumps(frame))
        for series in ("websocket_connections", "leases"):
            await asyncio.to_thread(until, series, lambda: prometheus.value(f'sum(polylogue_{series}{{job="replicas"}})') >= 1)
            ledger.seen(f'{series}{{job="replicas"}}')
    for kind in ("ping", "chat", "resume", "cancel", "invalid"):
        ledger.exactly(f'websocket_messages_total{{job="replicas",direction="in",type="{kind}"}}')
    ledger.exactly('idempotency_requests_total{job="replicas",outcome="first"}')
    for kind in ("hello", "pong"):
        ledger.exactly(f'websocket_messages_total{{job="replicas",direction="out",type="{kind}"}}')
    ledger.moved('websocket_messages_total{job="replicas",direction="out",type="event"}',
                 'websocket_messages_total{job="replicas",direction="out",type="error"}')
    ledger.exactly('websocket_connections_opened_total{job="replicas"}')
    ledger.exactly('websocket_connections_closed_total{job="replicas",reason="normal"}')
    ledger.exactly('websocket_connection_duration_seconds_count{job="replicas"}')


def misuse_sockets(odd, ledger):
    """Each way a socket ends badly, and each way none begins; on the service with room for two."""
    asyncio.run(_misuse(odd, ledger))


async def _misuse(odd, ledger):
    async def ends(code, reason, *frames):
        async with websockets.connect(odd.ws, subprotocols=["polylogue.v1"], max_size=None) as line:
            for frame in frames:
                try:
                    await line.send(frame)
                except websockets.ConnectionClosed:
                    break
            try:
                while True:
                    await asyncio.wait_for(line.recv(), 20)
            except websockets.ConnectionClosed:
                assert line.close_code == code, (line.close_code, reason)
        ledger.exactly(f'websocket_connections_closed_total{{job="odd",reason="{reason}"}}')

    await ends(1003, "unsupported_data", b"binary")
    await ends(1009, "message_too_big", "x" * (600 << 10))
    await ends(1008, "policy_violation", *['{"type":"ping"}'] * 200)
    await ends(4001, "idle")
    await asyncio.to_thread(silent_socket, odd.address)
    ledger.exactly('websocket_connections_closed_total{job="odd",reason="heartbeat_timeout"}')
    async with websockets.connect(odd.ws) as _, websockets.connect(odd.ws) as _:
        try:
            await websockets.connect(odd.ws)
            raise AssertionError("there is no room")
        except websockets.InvalidStatus as refused:
            assert refused.response.status_code in (429, 503)
    ledger.moved('websocket_connections_rejected_total{job="odd",reason=~"total|per_client"}')
    try:
        await websockets.connect(odd.ws, subprotocols=["other.v9"])
    except websockets.InvalidStatus as refused:
        assert refused.response.status_code == 400
    ledger.exactly('websocket_connections_rejected_total{job="odd",reason="subprotocol"}')
    assert odd.http.get("/api/v1/chat/ws").status_code in (400, 426)
    ledger.exactly('websocket_connections_rejected_total{job="odd",reason="not_an_upgrade"}')


def silent_socket(address):
    """Opens a socket that never answers a ping, and waits until it is cut off."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(f"GET /api/v1/chat/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
        assert b" 101 " in line.recv(4096)
        while line.recv(4096):
            pass


def misuse_connections(odd, ledger):
    host, port = odd.address.split(":")

    def says(first):
        with socket.create_connection((host, int(port)), timeout=20) as line:
            if first:
                line.sendall(first)
            while line.recv(4096):
                pass

    says(b"")
    says(b"\x00\x01 what is this\r\n\r\n")
    says(f"GET /livez HTTP/1.1\r\nHost: {odd.address}\r\n\r\n".encode())
    says(f"GET /livez HTTP/1.1\r\nHost: {odd.address}\r\nConnection: close\r\n\r\n".encode())
    for reason in ("header_timeout", "protocol_error", "idle_timeout", "done"):
        ledger.moved(f'tcp_connections_closed_total{{job="odd",reason="{reason}"}}')
    ledger.moved('tcp_connections_accepted_total{job="odd"}', least=4)
    ledger.seen('tcp_connections{job="odd"}')


def forward_headers(one, ledger):
    for _ in range(3):
        assert one.http.get("/api/v1/personas", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 200
    ledger.exactly('forwarded_headers_ignored_total{job="replicas"}', 3)
    ledger.exactly('log_lines_suppressed_total{job="replicas",event="forwarded_header_ignored"}', 2)
    ledger.exactly('http_requests_total{job="replicas",route="/api/v1/personas",method="GET",status="200"}', 3)


def take_a_ticket(odd, ledger, prometheus):
    """Nobody comes for it: its place runs out after half a minute."""
    assert odd.http.post("/api/v1/chat/ws/tickets").status_code == 201
    until("a ticket", lambda: prometheus.value('sum(polylogue_leases{job="odd",kind="ticket"})') == 1)
    ledger.seen('leases{job="odd",kind="ticket"}')
    ledger.moved('leases_expired_total{job="odd",kind="ticket"}')
