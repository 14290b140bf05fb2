"""A real browser, over the DevTools protocol."""

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess

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
