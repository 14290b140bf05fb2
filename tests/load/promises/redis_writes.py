"""How often Redis is asked for one turn while its tokens stream: seen by MONITOR, counted in every window of a second."""

import re
import socket
import threading
from collections import Counter, defaultdict

from compare import polylogue, redis

from .stage import Promise, Stage

# 200 tokens a second for two seconds: far more tokens than writes are allowed.
MODEL, TOKENS_A_SECOND, PERSONA = "t50-g5-n400", 200, "flood-1"
BOUND = 40
# What one line of MONITOR says: when, who, and the command; "lua" are the steps inside a script.
LINE = re.compile(r'^\+?(?P<time>\d+\.\d+) \[\d+ (?P<who>[^\]]+)\] (?P<command>.*)$')
TURN = re.compile(r":turn:([0-9A-Za-z-]+)|:log:([0-9A-Za-z-]+)")
READS = {"XREAD", "XRANGE", "XREVRANGE", "GET", "HGET", "HGETALL", "HMGET", "EXISTS", "TTL", "PTTL"}


class Monitor(threading.Thread):
    """Reads what MONITOR says until it is closed."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.connection.sendall(b"MONITOR\r\n")

    def run(self) -> None:
        with self.connection.makefile(errors="replace") as lines:
            try:
                self.lines.extend(lines)
            except OSError:
                return

    def close(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.join(10)


def writes_by_turn(lines: list[str]) -> dict[str, list[tuple[float, str]]]:
    """When each turn's keys were written to, and by what; a script is one write."""
    found = defaultdict(list)
    for line in lines:
        match = LINE.match(line)
        if not match or match["who"] == "lua":
            continue
        words = match["command"].split(" ", 2)
        name = words[0].strip('"').upper()
        if name in READS:
            continue
        if turn := TURN.search(match["command"]):
            by = words[1] if name in ("EVALSHA", "EVAL") else name
            found[turn[1] or turn[2]].append((float(match["time"]), by))
    return dict(found)


def appends(turns: dict[str, list[tuple[float, str]]]) -> str:
    """What writes tokens: what is done most often. The rest is done once or twice, as a turn starts and ends."""
    counts = Counter(by for writes in turns.values() for _, by in writes)
    return counts.most_common(1)[0][0] if counts else ""


def busiest_second(times: list[float]) -> int:
    """The most of them in any one second."""
    times, first, most = sorted(times), 0, 0
    for last, time in enumerate(times):
        while time - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def measure(stage: Stage) -> list[Promise]:
    directory = stage.directory / "redis-writes"
    server, port = redis.start(directory / "redis")
    try:
        service = polylogue.start(stage.binary, directory, stage.upstream, f"redis://127.0.0.1:{port}", more_personas={PERSONA: MODEL})
        try:
            return [watched(stage, service, port)]
        finally:
            service.process.stop()
    finally:
        server.stop()


def watched(stage: Stage, service, port: int) -> Promise:
    ask = ["chat", "--url", service.url, "--mix", "sse", "--personas", PERSONA, "--concurrency", "8"]
    seconds = 5 if stage.is_quick else 15
    monitor = Monitor(port)
    monitor.start()
    before = redis.calls(port)
    figures = stage.tool.run(ask, note="Redis writes", seconds=seconds)
    after = redis.calls(port)
    monitor.close()

    turns = writes_by_turn(monitor.lines)
    script = appends(turns)
    busiest = [busiest_second([time for time, by in writes if by == script]) for writes in turns.values()]
    everything = [busiest_second([time for time, _ in writes]) for writes in turns.values()]
    most = max(busiest, default=0)
    calls = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    # That only one is in flight cannot be seen from here.
    return Promise(
        "Redis writes for one turn, streaming", f"one in flight for each turn, at most {BOUND} a second",
        f"{most} writes of tokens in the busiest second of any of {len(turns)} turns of {TOKENS_A_SECOND} tokens a second; "
        f"{max(everything, default=0)} with those of its start and end",
        bool(busiest) and most <= BOUND and figures.errors == 0,
        details={"busiest_seconds": sorted(busiest), "all_writes": sorted(len(writes) for writes in turns.values()), "calls": calls},
    )
