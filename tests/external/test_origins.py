"""Pages of other origins in a real browser: the one that the operator names can work with the service, no other can."""

import asyncio
import http.server
import threading

import httpx
import pytest
from browser import chromium, page_at  # noqa: F401 (a fixture is used by its name)
from conftest import UNLIMITED, ends_well, serve


class Empty(http.server.BaseHTTPRequestHandler):
    """A page with nothing on it, and no icon."""

    def do_GET(self):
        body = b"<!doctype html><link rel=icon href=data:,><title>page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pages():
    """Two web sites that are not ours."""
    sites = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) for _ in range(2)]
    for site in sites:
        threading.Thread(target=site.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{site.server_port}" for site in sites]
    for site in sites:
        site.shutdown()


@pytest.fixture(scope="module")
def service(pages):
    """A service that lets the first of them in."""
    running = serve(*UNLIMITED, f"cors.allowed_origins={pages[0]}")
    yield running
    ends_well(running)


# What a page would do: ask with a preflight, read headers and an error, follow events, open a socket with a ticket.
WORK = """
const at = %r;
const json = { "Content-Type": "application/json", "Idempotency-Key": "page-" + Math.random() };
const ask = (path, body) =>
  fetch(at + path, { method: "POST", headers: json, body: JSON.stringify(body) });
const socket = (target) => new Promise((done) => {
  const it = new WebSocket(at.replace("http", "ws") + target, ["polylogue.v1"]);
  it.onmessage = ({ data }) => { it.close(); done(JSON.parse(data).type); };
  it.onerror = () => done("refused");
});
const tried = (work) => work().catch((error) => "blocked: " + error.name);
"""


def on(page, service, work):
    return page.evaluate("(async () => {" + WORK % service.url + "return await tried(async () => {" + work + "}); })()")


@pytest.fixture
def visit(chromium, service):  # noqa: F811
    """Does the works one after the other on a page of `origin`."""
    def visit(origin, *works):
        async def look():
            async with page_at(chromium, origin) as page:
                return [await on(page, service, work) for work in works]

        return asyncio.run(look())

    return visit


READ_TURN = """
  const answer = await ask("/api/v1/chat", { message: "hello", personas: ["guide"] });
  const names = ["Turn-Id", "Location", "RateLimit", "RateLimit-Policy", "X-RateLimit-Remaining", "X-Request-ID"];
  return [answer.status, names.filter((name) => !answer.headers.get(name)), (await answer.json()).status];
"""
READ_ERRORS = """
  const refused = await ask("/api/v1/chat", { message: "" });
  const missing = await fetch(at + "/api/v1/turns/nothing");
  const wrong = await fetch(at + "/api/v1/personas", { method: "POST" });
  const all = [];
  for (const it of [refused, missing, wrong])
    all.push([it.status, it.headers.get("Problem-Code"), (await it.json()).code]);
  return all;
"""
FOLLOW = """
  const answer = await ask("/api/v1/chat/stream", { message: "hello", personas: ["guide"] });
  return (await answer.text()).includes("event: turn.completed");
"""
OPEN_WITH_TICKET = """
  const ticket = await fetch(at + "/api/v1/chat/ws/tickets", { method: "POST" });
  const where = ticket.headers.get("Location");
  return [ticket.status, await socket(where), await socket(where)];
"""


def test_a_page_of_an_allowed_origin_works_with_the_api(visit, pages):
    turn, errors, follow = visit(pages[0], READ_TURN, READ_ERRORS, FOLLOW)
    assert turn == [200, [], "completed"]
    codes = ["invalid_request", "turn_not_found", "method_not_allowed"]
    assert errors == [[status, code, code] for status, code in zip([400, 404, 405], codes)]
    assert follow is True


def test_a_page_of_an_allowed_origin_opens_a_socket_with_a_ticket_once(visit, pages):
    assert visit(pages[0], OPEN_WITH_TICKET) == [[201, "hello", "refused"]]


def test_a_page_of_another_origin_can_do_nothing(visit, pages, service):
    simple = """
      const sent = fetch(at + "/api/v1/chat/ws/tickets", { method: "POST", mode: "no-cors" });
      await sent.catch(() => "not even an opaque answer");
      return await socket("/api/v1/chat/ws");
    """
    before = tickets(service)
    *blocked, last = visit(pages[1], READ_TURN, READ_ERRORS, FOLLOW, OPEN_WITH_TICKET, simple)
    assert (blocked, last) == (["blocked: TypeError"] * 4, "refused")
    assert tickets(service) == before, "not even a request whose answer it could not read was carried out"


def test_a_page_of_another_origin_cannot_use_a_ticket_that_it_got_hold_of(visit, pages):
    get = """return (await fetch(at + "/api/v1/chat/ws/tickets", { method: "POST" })).headers.get("Location");"""
    [ticket] = visit(pages[0], get)
    use = f"return await socket({ticket!r});"
    assert visit(pages[1], use) == ["refused"]
    assert visit(pages[0], use) == ["hello"], "a refusal does not use a ticket up"


def tickets(service):
    """How many requests for tickets were answered with one."""
    lines = httpx.get(service.management + "/metrics").text.splitlines()
    wanted = [line for line in lines if "http_requests_total" in line and "tickets" in line and '"201"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in wanted)
