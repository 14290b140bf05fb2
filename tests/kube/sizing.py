#!/usr/bin/env python3
"""Measures what a pod of the service needs, for the table in docs/kubernetes.md ("Sizing"): one pod on the cluster of the tests,
Redis and the model outside of it. Wants a release build and what `tests/run kube` installs.

    PATH="$(tests/kube/tools path):$PATH" tests/kube/isolated tests/.cache/kube/bin/python tests/kube/sizing.py
"""

import asyncio
import contextlib
import json
import os
import pathlib
import sys
import time

import httpx
import websockets

import support
import world as worlds
from clients import Ledger, stream_client
from support import CHART, TARGET, run

NAMESPACE = "sizing"
SOCKETS = [1000, 5000]
# Streams at a time; each turn is two replies of 80 tokens, 20 ms apart.
STREAMS = [25, 50, 100, 200]
VALUES = {
    "replicaCount": 1,
    "config": {"llm": {"base_url": "http://models.example.org:8000/v1", "model": "any"},
               "limits": {"policies": {"default": {"quota": 10_000_000}}},
               # Who measures on a busy machine is not to be refused.
               "turns": {"max_delay": "0s"},
               "websocket": {"max_per_client": 20_000, "max_total": 20_000}},
    "secrets": {"redisUrl": {"existingSecret": "ci-secrets", "key": "redis-url"}},
    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "2Gi"}},
}


class Pod:
    """The pod under load, seen by its control groups."""

    def __init__(self, world):
        done = run("helm3", "install", "chat", CHART, "-n", NAMESPACE, "-f", "-", "--wait", "--timeout", "120s",
                   input=json.dumps(VALUES), check=False)
        if done.returncode:
            sys.exit(done.stderr + worlds.explain(NAMESPACE))
        found = world.cluster.get("pods", NAMESPACE, "-l", "app.kubernetes.io/component=server")["items"][0]
        self.address = f"http://{found['status']['podIP']}:8080"
        self.id = found["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")

    def group(self, controller):
        return next(pathlib.Path("/sys/fs/cgroup").glob(f"{controller}/{os.environ['KUBE_GROUP']}-*/**/{self.id}"))

    def memory(self):
        """The working set in bytes, as the kubelet counts it."""
        group = self.group("memory")
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int((group / "memory.usage_in_bytes").read_text()) - int(stat["total_inactive_file"])

    def cpu(self):
        """Seconds of CPU used so far."""
        return int((self.group("cpuacct") / "cpuacct.usage").read_text()) / 1e9


def say(what, pod, more=""):
    print(f"{what}: {pod.memory() / 2**20:.0f} MiB {more}", flush=True)


async def sockets(pod):
    """Idle sockets: what they hold, and what their heartbeats cost."""
    url = pod.address.replace("http", "ws") + "/api/v1/chat/ws"
    async with contextlib.AsyncExitStack() as held:
        opened = 0
        for wanted in SOCKETS:
            while opened < wanted:
                await asyncio.gather(*(held.enter_async_context(websockets.connect(
                    url, subprotocols=["polylogue.v1"], compression=None, open_timeout=60)) for _ in range(50)))
                opened += 50
            began, used = time.monotonic(), pod.cpu()
            await asyncio.sleep(35)
            say(f"{wanted} idle sockets", pod, f"{(pod.cpu() - used) / (time.monotonic() - began) * 1000:.0f} millicores")


async def turns(pod):
    """Streams: the most memory on the way, and CPU for each turn."""
    for count in STREAMS:
        ledger, most, used, began = Ledger(pod.address), 0, pod.cpu(), time.monotonic()
        running = [asyncio.create_task(stream_client(ledger)) for _ in range(count)]
        while time.monotonic() - began < 30:
            await asyncio.sleep(0.5)
            most = max(most, pod.memory())
        ledger.open = False
        await asyncio.gather(*running)
        taken, ended = time.monotonic() - began, len(ledger.turns)
        say(f"{count} streams", pod, f"at the end, {most / 2**20:.0f} MiB at most, {ended / taken:.1f} turns/s, "
            f"{(pod.cpu() - used) / ended * 1000:.2f} ms CPU each; {ledger.sum()}")


async def measure(pod):
    async with httpx.AsyncClient() as http:
        (await http.get(f"{pod.address}/readyz")).raise_for_status()
    say("idle", pod, f"{pod.cpu() * 1000:.0f} ms CPU to start")
    await turns(pod)
    await sockets(pod)


def main():
    worlds.BINARY = support.BINARY = TARGET / "release" / "polylogue"
    world = worlds.World(os.environ["KUBE_PLACE"], real=1)
    try:
        world.namespace(NAMESPACE)
        asyncio.run(measure(Pod(world)))
    finally:
        world.down()


if __name__ == "__main__":
    sys.exit(main())
