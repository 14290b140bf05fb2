"""The pieces of work, and how each peer is asked for one."""

from dataclasses import dataclass

from . import personas
from .peers import Peer, Running
from .upstream import STREAM, WHOLE


@dataclass(frozen=True)
class Work:
    """What users of a closed loop ask for, again and again."""

    name: str
    title: str
    is_stream: bool
    concurrency: int
    personas: int = 1

    def can(self, peer: Peer) -> bool:
        """Whether a peer can do it: only a chat service asks several personas for one message."""
        return self.personas == 1 or peer.interface == "chat"

    def argv(self, peer: Peer, running: Running) -> list[str]:
        pace = ["--concurrency", str(self.concurrency)]
        return [*ask(peer, running, self.is_stream, self.personas), *pace]


def ask(peer: Peer, running: Running, is_stream: bool, count: int = 1) -> list[str]:
    """The load generator's arguments but for how hard and how long."""
    if peer.interface == "chat":
        asked = personas.ids("stream" if is_stream else "whole", count)
        return ["chat", "--url", running.url, "--mix", "sse" if is_stream else "json", "--personas", ",".join(asked)]
    model = running.model(STREAM if is_stream else WHOLE)
    headers = [part for name, value in running.headers.items() for part in ("--header", f"{name}: {value}")]
    return ["direct", "--url", running.url, "--model", model, *(["--stream"] if is_stream else []), *headers]


def works(concurrencies: list[int]) -> list[Work]:
    found = []
    for users in concurrencies:
        found.append(Work(f"whole-{users}", f"one answer of 16 tokens, {users} at a time", False, users))
    for users in concurrencies:
        found.append(Work(f"stream-{users}", f"a stream of 16 tokens, {users} at a time", True, users))
    users = concurrencies[-1] if len(concurrencies) < 2 else concurrencies[-2]
    found.append(Work("two-personas", f"two personas side by side, one answer, {users} at a time", False, users, 2))
    found.append(Work("two-personas-stream", f"two personas side by side, streamed, {users} at a time", True, users, 2))
    return found
