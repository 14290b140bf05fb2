"""A stand-in for the kind of service Polylogue replaces: FastAPI, slowapi, and langgraph with personas side by side.

It speaks as much of /api/v1/chat as a load generator needs. STANDIN_CLIENT says whether the model's client is made for
every request ("request", as such services are often written) or once ("shared").
"""

import json
import os
import secrets
from collections import OrderedDict, deque
from functools import lru_cache, partial
from operator import add
from typing import Annotated, TypedDict

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

PERSONAS = json.loads(os.environ["STANDIN_PERSONAS"])  # id -> model
MAX_CONVERSATIONS, MAX_MESSAGES = 10_000, 20
history: OrderedDict[str, deque] = OrderedDict()


class State(TypedDict):
    messages: list
    personas: list[str]
    replies: Annotated[list, add]


class ChatRequest(BaseModel):
    message: str
    conversation_id: str | None = None
    personas: list[str] = []


def new_client(model: str) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=os.environ["OPENAI_BASE_URL"], api_key="none", max_retries=2, stream_usage=True)


client = lru_cache(new_client) if os.environ.get("STANDIN_CLIENT") == "shared" else new_client


async def answer(state: State, persona: str) -> dict:
    prompt = [SystemMessage(f"You are {persona}."), *state["messages"]]
    said = await client(PERSONAS[persona]).ainvoke(prompt)
    return {"replies": [{"persona": persona, "said": said}]}


def build_graph():
    graph = StateGraph(State)
    for persona in PERSONAS:
        graph.add_node(persona, partial(answer, persona=persona))
        graph.add_edge(persona, END)
    graph.add_conditional_edges(START, lambda state: state["personas"], list(PERSONAS))
    return graph.compile()


graph = build_graph()
limiter = Limiter(key_func=get_remote_address, headers_enabled=False)
app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
LIMIT = os.environ.get("STANDIN_LIMIT", "100/minute")


class Turn:
    """One user message and what answers it, in Polylogue's words on the wire."""

    def __init__(self, request: ChatRequest):
        self.id, self.seq = secrets.token_hex(13), 0
        self.conversation = request.conversation_id or secrets.token_hex(16)
        self.personas = request.personas or [next(iter(PERSONAS))]
        self.messages = history.setdefault(self.conversation, deque(maxlen=MAX_MESSAGES))
        self.messages.append(HumanMessage(request.message))
        if len(history) > MAX_CONVERSATIONS:
            history.popitem(last=False)

    def state(self) -> State:
        return {"messages": list(self.messages), "personas": self.personas, "replies": []}

    def event(self, kind: str, **members) -> dict:
        self.seq += 1
        return {"type": kind, "id": f"1-{self.seq}", "turn_id": self.id, **members}

    def reply(self, persona: str, content: str) -> dict:
        self.messages.append(AIMessage(content))
        return {"persona": persona, "content": content, "finish_reason": "stop"}

    async def run(self) -> dict:
        replies = (await graph.ainvoke(self.state()))["replies"]
        done = [{"status": "completed", **self.reply(each["persona"], each["said"].content)} for each in replies]
        return {"turn_id": self.id, "conversation": {"id": self.conversation}, "status": "completed", "replies": done}

    async def events(self):
        texts = dict.fromkeys(self.personas, "")
        yield self.event("turn.started", conversation={"id": self.conversation})
        yield self.event("routing.decided", routing={"personas": self.personas, "source": "explicit"})
        for persona in self.personas:
            yield self.event("reply.started", persona=persona)
        async for chunk, about in graph.astream(self.state(), stream_mode="messages"):
            if chunk.content:
                texts[about["langgraph_node"]] += chunk.content
                yield self.event("reply.delta", persona=about["langgraph_node"], text=chunk.content)
        for persona, text in texts.items():
            yield self.event("reply.completed", **self.reply(persona, text))
        yield self.event("turn.completed")


async def as_sse(turn: Turn):
    async for event in turn.events():
        yield f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"


@app.get("/readyz")
async def ready() -> dict:
    return {"status": "ok"}


@app.post("/api/v1/chat")
@limiter.limit(LIMIT)
async def chat(request: Request, body: ChatRequest) -> dict:
    return await Turn(body).run()


@app.post("/api/v1/chat/stream")
@limiter.limit(LIMIT)
async def stream(request: Request, body: ChatRequest) -> StreamingResponse:
    turn = Turn(body)
    return StreamingResponse(as_sse(turn), media_type="text/event-stream", headers={"Turn-Id": turn.id})


@app.websocket("/api/v1/chat/ws")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="polylogue.v1")
    await websocket.send_json({"type": "hello", "connection_id": secrets.token_hex(13), "protocol": "polylogue.v1"})
    try:
        while True:
            frame = await websocket.receive_json()
            if frame["type"] == "chat":
                async for event in Turn(ChatRequest(**frame)).events():
                    await websocket.send_json({"ref": frame["ref"], **event})
    except WebSocketDisconnect:
        return
