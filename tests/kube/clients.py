"""Clients that go on whatever happens, and a ledger of everything they sent and saw."""

import asyncio
import collections
import json
import uuid

import httpx
import websockets

ENDED = {"turn.completed", "turn.failed", "turn.cancelled"}
# How long a client that was cut off or refused waits before it tries again.
PAUSE = 0.2


class Turn:
    """One thing said, and what was seen of the answer."""

    def __init__(self, kind):
        self.kind, self.key = kind, str(uuid.uuid4())
        self.request = {"message": "@guide tell me", "conversation_id": uuid.uuid4().hex, "personas": ["guide", "skeptic"]}
        self.id = self.last = self.end = None
        self.texts = collections.defaultdict(str)
        self.incidents = []

    def see(self, event):
        """Takes an event as a client should (README, "What a client should know")."""
        self.id, self.last = event["turn_id"], event["id"]
        match event["type"]:
            case "routing.decided":
                self.texts.clear()
            case "reply.delta":
                self.texts[event["persona"]] += event["text"]
            case "reply.reset":
                self.texts[event["persona"]] = ""
            case "reply.completed":
                assert self.texts[event["persona"]] == event["content"], f"{self.id}: pieces and whole differ"
            case kind if kind in ENDED:
                self.end = kind.removeprefix("turn.")


class Ledger:
    """All turns, and whether clients should begin more."""

    def __init__(self, base, key=None):
        self.base, self.turns, self.open, self.moves = base, [], True, collections.Counter()
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def client(self):
        return httpx.AsyncClient(base_url=self.base, headers=self.headers, timeout=60)

    def begin(self, kind):
        self.turns.append(Turn(kind))
        return self.turns[-1]

    def sum(self):
        """What happened, for people."""
        kinds = collections.Counter(f"{turn.kind} {turn.end}" for turn in self.turns)
        incidents = collections.Counter(incident for turn in self.turns for incident in turn.incidents)
        return {"turns": dict(kinds), "incidents": dict(incidents), "sockets": dict(self.moves)}

    def incidents(self):
        return collections.Counter(incident for turn in self.turns for incident in turn.incidents)


async def refused(turn, answer):
    """Notes a refusal that the contract allows; anything else is a failure."""
    await answer.aread()
    code = answer.json().get("code") if "json" in answer.headers.get("content-type", "") else f"{answer.status_code}"
    assert answer.status_code in (502, 503, 504), f"{answer.status_code}: {answer.text}"
    turn.incidents.append(f"{turn.kind} refused: {code}")
    await asyncio.sleep(PAUSE)


async def broken(turn, error):
    turn.incidents.append(f"{turn.kind} broken: {type(error).__name__}: {error}")
    await asyncio.sleep(PAUSE)


async def json_client(ledger):
    """Asks and waits; asks again with the same key when there is no answer."""
    async with ledger.client() as http:
        while ledger.open:
            turn = ledger.begin("json")
            while not turn.end:
                try:
                    answer = await http.post("/api/v1/chat", json=turn.request, headers={"Idempotency-Key": turn.key})
                except httpx.TransportError as error:
                    await broken(turn, error)
                    continue
                if answer.status_code != 200:
                    await refused(turn, answer)
                    continue
                found = answer.json()
                turn.id, turn.end = found["turn_id"], found["status"]
                turn.texts.update({reply["persona"]: reply["content"] for reply in found["replies"]})


async def stream_client(ledger):
    """Follows an answer as it is written; comes back with the last event's id."""
    async with ledger.client() as http:
        while ledger.open:
            turn = ledger.begin("stream")
            while not turn.end:
                try:
                    await follow(http, turn)
                except httpx.TransportError as error:
                    await broken(turn, error)


async def follow(http, turn):
    request = http.stream("POST", "/api/v1/chat/stream", json=turn.request, headers={"Idempotency-Key": turn.key})
    if turn.last:
        request = http.stream("GET", f"/api/v1/turns/{turn.id}/events", headers={"Last-Event-ID": turn.last})
    async with request as answer:
        if answer.status_code != 200:
            return await refused(turn, answer)
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                turn.see(json.loads(line.removeprefix("data: ")))
    if not turn.end:
        turn.incidents.append("stream ended early")


async def socket_client(ledger):
    """Talks on a socket; when it closes, goes on with another where it was."""
    url = ledger.base.replace("http", "ws") + "/api/v1/chat/ws"
    turn = None
    while ledger.open or turn:
        try:
            async with websockets.connect(url, subprotocols=["polylogue.v1"], additional_headers=ledger.headers,
                                          open_timeout=10, close_timeout=2) as socket:
                ledger.moves["opened"] += 1
                while ledger.open or turn:
                    turn = turn or ledger.begin("socket")
                    turn = await talk(socket, turn)
        except websockets.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else "none"
            ledger.moves[f"closed {code}"] += 1
            await asyncio.sleep(PAUSE)
        except (OSError, TimeoutError, websockets.InvalidHandshake, websockets.InvalidMessage) as error:
            ledger.moves[f"not opened: {type(error).__name__}: {error}"] += 1
            await asyncio.sleep(PAUSE)


async def talk(socket, turn):
    """One turn; gives it back if another socket has to go on with it."""
    frame = {"type": "chat", "ref": turn.key, **turn.request}
    if turn.last:
        frame = {"type": "resume", "ref": turn.key, "turn_id": turn.id, "after": turn.last}
    await socket.send(json.dumps(frame))
    async for text in socket:
        event = json.loads(text)
        if event["type"] == "error":
            turn.incidents.append(f"socket refused: {event['error']['code']}")
            assert event["error"]["code"] in ("draining", "state_unavailable"), event
            # The socket will close; another one takes the turn on.
            await asyncio.sleep(PAUSE)
            return await talk(socket, turn)
        if event.get("ref") == turn.key and "id" in event:
            turn.see(event)
            if turn.end:
                return None
    raise websockets.ConnectionClosedError(None, None)


async def check(ledger):
    """Holds every turn against what the service remembers of it."""
    async with ledger.client() as http:
        ids = [turn.id for turn in ledger.turns]
        assert len(set(ids)) == len(ids), "two things said met in one turn"
        for turn in ledger.turns:
            kept = (await http.get(f"/api/v1/turns/{turn.id}")).json()
            assert kept["status"] == turn.end == "completed", (turn.kind, turn.end, kept)
            assert {it["persona"]: it["content"] for it in kept["replies"]} == dict(turn.texts), (turn.kind, turn.id)
            assert all(turn.texts.values()), "an answer without a word"


async def enough(ledger, turns):
    """Waits until so many turns were begun: before a fault there is something to lose, and after it everybody has met it."""
    async with asyncio.timeout(120):
        while len(ledger.turns) < turns:
            await asyncio.sleep(0.05)


async def load(ledger, work, clients=4):
    """Runs clients of each kind while `work` (a function) is done, lets them end, and checks all they saw."""
    kinds = [json_client, stream_client, socket_client]
    running = [asyncio.create_task(kind(ledger)) for kind in kinds for _ in range(clients)]
    try:
        await enough(ledger, 2 * len(running))
        await asyncio.to_thread(work)
        await enough(ledger, len(ledger.turns) + 2 * len(running))
    finally:
        ledger.open = False
    _, unended = await asyncio.wait(running, timeout=180)
    assert not unended, f"{len(unended)} clients did not come to an end: {ledger.sum()}"
    await asyncio.gather(*running)
    await check(ledger)
    return ledger
