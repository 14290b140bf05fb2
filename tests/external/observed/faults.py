"""Everything that goes wrong at once for a while, so that what shall wake somebody does."""

import asyncio
import contextlib
import signal
import threading
import time

import httpx

from observed.features import silent_socket
from observed.prometheus import until


class Pressure:
    """Things done again and again until the end of a `with`."""

    def __init__(self, *works):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._again, args=(work, pause), daemon=True) for work, pause in works]

    def _again(self, work, pause):
        while not self.stop.is_set():
            # A service that is in trouble may answer anything, or not at all.
            with contextlib.suppress(httpx.HTTPError, OSError, AssertionError):
                work()
            self.stop.wait(pause)

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def firing(prometheus, *names):
    for name in names:
        until(f"{name} fires", lambda: prometheus.query(f'ALERTS{{alertname="{name}",alertstate="firing"}}'), 90)


def everything(one, other, local, odd, primary, redis, prometheus, keys):
    """The model fails, Redis is away, sockets go silent, callers ask too much and show wrong keys, all for a while."""
    number = iter(range(10**6))
    message = lambda: other.post("conversations/journal-%d/messages" % (next(number) % 50), role="user", content="kept")
    wrong = {"Authorization": f"Bearer plg_{'0' * 72}"}
    right = {"Authorization": f"Bearer {keys}"}
    jwt = {"Authorization": "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL3guZXhhbXBsZSJ9.AAAA"}
    local.model.set(time_to_first_token_ms=2500)
    primary.rules({"when_contains": "fail", "fault": "server_error"}, {"when_contains": "slow", "token_gap_ms": 900})
    slow = one.post("turns", message="slow, please", personas=["guide"], conversation_id="slow").headers["turn-id"]
    redis.stop()
    works = [
        (lambda: one.ask("fail now", personas=["guide"]), 0.05),
        (message, 0.1),
        (lambda: silent_socket(other.address), 0.0), (lambda: silent_socket(other.address), 0.3),
        (lambda: local.http.get("/api/v1/personas", headers=wrong), 0.1),
        (lambda: local.http.get("/api/v1/personas", headers=right), 0.1),
        (lambda: local.http.get("/api/v1/personas", headers=jwt), 0.1),
        *[(lambda: local.ask("slow start", headers=right), 0.0)] * 4,
        (lambda: odd.ask("one at a time"), 0.0), (lambda: odd.ask("one at a time"), 0.0),
    ]
    with Pressure(*works):
        firing(prometheus, "PolylogueRedisDown", "PolylogueDegraded", "PolylogueBreakerOpen", "PolylogueHttpErrors",
               "PolylogueAvailabilityBurnsFast", "PolylogueAvailabilityBurnsSlowly", "PolylogueFirstTokenBurnsFast",
               "PolylogueFirstTokenBurnsSlowly", "PolylogueHeartbeatTimeoutsSurge", "PolylogueLimitRefusalsSurge",
               "PolylogueAuthenticationFails", "PolylogueAuthenticationUnavailable", "PolylogueJournalGrows",
               "PolylogueTurnLogUnconfirmed", "PolylogueSimulatorInUse")
        said = prometheus.alerts()
    redis.start()
    primary.rules()
    local.model.set(time_to_first_token_ms=5)
    until("Redis is back for all", lambda: prometheus.value('min(polylogue_redis_up{job="replicas"})') == 1, 60)
    until("nothing is unconfirmed", lambda: prometheus.value('sum(polylogue_memory_unconfirmed_messages)') == 0, 60)
    firing(prometheus, "PolylogueRedisDataLost")
    return slow, said


def a_replica_dies(one, other, primary, prometheus):
    """In the middle of a turn, which the other one goes on with."""
    primary.rules({"says": ["Once ", "upon ", "a time."], "pause_after": 1, "times": 1})
    turn = one.post("turns", message="tell", personas=["guide"]).headers["turn-id"]
    until("it speaks", lambda: "Once" in one.http.get(f"/api/v1/turns/{turn}").text)
    prometheus.has_scraped()
    one.process.send_signal(signal.SIGKILL)
    one.process.wait()
    until("it is told to its end", lambda: other.http.get(f"/api/v1/turns/{turn}").json()["status"] == "completed", 60)
    firing(prometheus, "PolylogueTakeovers", "PolylogueScrapeGone")


def sockets_fill(odd, prometheus):
    """Two of two places."""
    import websockets

    async def hold():
        async with websockets.connect(odd.ws) as a, websockets.connect(odd.ws) as b:
            for _ in range(200):
                for line in (a, b):
                    await line.send('{"type":"nonsense"}')
                if await asyncio.to_thread(prometheus.query, 'ALERTS{alertname="PolylogueSocketsNearCap",alertstate="firing"}'):
                    return
                await asyncio.sleep(0.2)
            raise AssertionError("two of two is not near the cap")

    asyncio.run(hold())


def nobody_reads_the_log(deaf, prometheus):
    """More lines than wait for a reader, and no reader."""
    deaf.listens = False
    with Pressure(*[(lambda: deaf.http.get("/api/v1/personas/nobody"), 0.0)] * 4):
        firing(prometheus, "PolylogueTelemetryDropped")


def started_again(start, prometheus):
    """Twice, on one port."""
    for _ in range(3):
        again = start()
        prometheus.has_scraped(again.instance)
        assert again.stop() == 0
    firing(prometheus, "PolylogueRestarts")


def wrong_file(path, prometheus):
    good = path.read_text()
    path.write_text("{")
    firing(prometheus, "PolylogueReloadFailed")
    path.write_text(good + " ")
    until("read again", lambda: prometheus.value('sum(polylogue_config_reloads_total{outcome="ok"})') >= 1)
    time_of = 'max(polylogue_config_reload_success_timestamp_seconds{file="flags"})'
    assert abs(prometheus.value(time_of) - time.time()) < 30
