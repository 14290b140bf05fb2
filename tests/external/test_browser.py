"""A real browser looks at the documentation page, and talks to the service from it."""

import asyncio
from urllib.parse import urlsplit

from browser import chromium, page_at  # noqa: F401 (a fixture is used by its name)


def test_the_documentation_page_shows_every_operation_and_asks_no_other_host(service, chromium):
    async def look():
        async with page_at(chromium, service.url + "/docs") as page:
            await page.until("document.querySelectorAll('.opblock').length >= 12")
            assert await page.evaluate("document.body.innerText.includes('/api/v1/chat/stream')")
            hosts = {urlsplit(url).netloc for url in page.requested if not url.startswith("data:")}
            assert hosts == {urlsplit(service.url).netloc}
            assert page.complaints == []

    asyncio.run(look())


def test_the_documentation_page_tries_an_operation_out_within_its_policy(service, chromium):
    async def look():
        async with page_at(chromium, service.url + "/docs") as page:
            await page.until("document.querySelectorAll('.opblock').length >= 12")
            await page.evaluate("[...document.querySelectorAll('[id$=listPersonas] .opblock-summary-control')][0].click()")
            await page.until("!!document.querySelector('[id$=listPersonas] .try-out__btn')")
            await page.evaluate("document.querySelector('[id$=listPersonas] .try-out__btn').click()")
            await page.until("!!document.querySelector('[id$=listPersonas] .execute')")
            await page.evaluate("document.querySelector('[id$=listPersonas] .execute').click()")
            await page.until("!!document.querySelector('[id$=listPersonas] .live-responses-table .response-col_status')")
            shown = "document.querySelector('[id$=listPersonas] .live-responses-table').innerText"
            await page.until(f"{shown}.includes('historian')")
            assert page.complaints == []

    asyncio.run(look())


def test_nothing_runs_on_the_documentation_page_but_what_it_brings(service, chromium):
    inject = """(() => {
      const script = document.createElement("script");
      script.textContent = "window.injected = true";
      document.body.append(script);
      return window.injected === true;
    })()"""

    async def look():
        async with page_at(chromium, service.url + "/docs") as page:
            await page.until("document.querySelectorAll('.opblock').length >= 12")
            assert await page.evaluate(inject) is False
            assert any("Content Security Policy" in str(complaint) for complaint in page.complaints)

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
