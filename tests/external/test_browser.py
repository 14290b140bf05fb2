"""A real browser looks at the documentation page, and talks to the service from it."""

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
import websockets

SECONDS = 30
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", "--remote-debugging-port=0"]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """The address of a browser's DevTools."""
    program = shutil.which("chromium")
    assert program, "tests/run installs chromium"
    profile = tmp_path_factory.mktemp("profile")
    process = subprocess.Popen([program, *QUIET, f"--user-data-dir={profile}"], stderr=subprocess.PIPE, text=True)
    address = next(line.split()[-1] for line in process.stderr if line.startswith("DevTools listening on "))
    yield address
    process.terminate()
    process.communicate(timeout=SECONDS)


class Page:
    """One tab, over the DevTools protocol."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = itertools.count(1)
        self.session = None
        self.requested = []
        self.complaints = []

    async def do(self, method, **params):
        number = next(self.numbers)
        where = {"sessionId": self.session} if self.session else {}
        await self.socket.send(json.dumps({"id": number, "method": method, "params": params} | where))
        while True:
            message = json.loads(await self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.notice(message)

    def notice(self, message):
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append((params["entry"]["text"], params["entry"].get("url")))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(params["args"])

    async def evaluate(self, expression):
        answer = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition):
        while not await self.evaluate(condition):
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def page_at(chromium, url):
    async with asyncio.timeout(SECONDS), websockets.connect(chromium, max_size=None) as socket:
        page = Page(socket)
        target = (await page.do("Target.createTarget", url="about:blank"))["targetId"]
        page.session = (await page.do("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Network", "Runtime", "Log", "Page"):
            await page.do(f"{domain}.enable")
        await page.do("Page.navigate", url=url)
        await page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        yield page
        await page.do("Page.close")


def test_the_documentation_page_shows_every_operation_and_asks_no_other_host(service, chromium):
    async def look():
        async with page_at(chromium, service.url + "/docs") as page:
            await page.until("document.querySelectorAll('.opblock').length >= 12")
            assert await page.evaluate("document.body.innerText.includes('/api/v1/chat/stream')")
            hosts = {urlsplit(url).netloc for url in page.requested if not url.startswith("data:")}
            assert hosts == {urlsplit(service.url).netloc}
            assert page.complaints == []

    asyncio.run(look())


def test_an_event_source_follows_a_turn_and_stops_after_its_end(service, chromium):
    follow = """(async () => {
      const ask = { method: "POST", headers: { "Content-Type": "application/json" },
                    body: JSON.stringify({ message: "hello", personas: ["guide"] }) };
      const started = await fetch("/api/v1/turns", ask);
      const source = new EventSource(started.headers.get("Location") + "/events");
      const seen = [];
      for (const kind of ["turn.started", "reply.completed", "turn.completed"])
        source.addEventListener(kind, () => seen.push(kind));
      // At the end it connects again after 2 s, from the last event; the answer 204 makes it stop.
      await new Promise((stopped) => source.addEventListener("error", () => source.readyState === 2 && stopped()));
      return seen;
    })()"""

    async def look():
        async with page_at(chromium, service.url + "/docs") as page:
            assert await page.evaluate(follow) == ["turn.started", "reply.completed", "turn.completed"]

    asyncio.run(look())


def test_a_browsers_socket_holds_a_conversation(service, chromium):
    talk = """new Promise((done, failed) => {
      const socket = new WebSocket(location.origin.replace("http", "ws") + "/api/v1/chat/ws", ["polylogue.v1"]);
      const seen = [];
      socket.onerror = failed;
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        seen.push(frame.type);
        if (frame.type === "error") failed(data);
        if (frame.type === "hello")
          socket.send(JSON.stringify({ type: "chat", ref: "browser-1", message: "hello", personas: ["guide"] }));
        if (frame.type === "turn.completed") { socket.close(); done(seen); }
      };
    })"""

    async def look():
        async with page_at(chromium, service.url + "/docs") as page:
            seen = await page.evaluate(talk)
            assert seen[:2] == ["hello", "turn.started"] and seen.count("reply.completed") == 1

    asyncio.run(look())
