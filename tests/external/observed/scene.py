"""The services that are watched, what they need, and the ledger of what was done to them."""

import atexit
import json
import subprocess

import httpx

from conftest import BINARY, Service, free_port
from observed.prometheus import until

FAST = {"server.drain_delay": "0s", "telemetry.log_format": "json", "simulator.time_to_first_token": "5ms",
        "simulator.token_gap": "1ms", "websocket.heartbeat_interval": "1s", "websocket.heartbeat_timeout": "500ms",
        "limits.policies.default.quota": 1000000, "limits.policies.resume.quota": 1000000,
        "llm.retry.wait": "10ms", "llm.retry.max_wait": "50ms", "llm.breaker.recovery": "1s",
        "llm.first_token_timeout": "3s", "llm.token_gap_timeout": "2s"}


class Redis:
    """A Redis of our own that keeps nothing when it goes."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                                         "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        atexit.register(self.process.kill)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Model:
    """A simulator alone, with its controls."""

    def __init__(self):
        self.address = f"127.0.0.1:{free_port()}"
        self.service = Service("simulate-llm", "--listen", self.address, "--set", "telemetry.log_format=json",
                               "--set", "simulator.time_to_first_token=5ms", "--set", "simulator.token_gap=1ms")
        self.control = Control(self.address)
        until("the model answers", self.control.is_there)


class Control:
    """How a simulator answers from now on."""

    def __init__(self, address):
        self.client = httpx.Client(base_url=f"http://{address}", timeout=10)

    def is_there(self):
        try:
            return self.client.get("/v1/models").status_code == 200
        except httpx.TransportError:
            return False

    def set(self, **members):
        self.client.put("/simulator/settings", json=members).raise_for_status()

    def rules(self, *rules):
        self.set(rules=list(rules))

    def go_on(self):
        self.client.post("/simulator/continue").raise_for_status()


class Replica(Service):
    """A `polylogue serve` that Prometheus scrapes under a job."""

    def __init__(self, prometheus, job, settings, file=None, management=None, env=None):
        self.arguments = ["serve", "--listen", "127.0.0.1:0", "--management-listen", management or f"127.0.0.1:{free_port()}"]
        for key, value in (FAST | settings).items():
            self.arguments += ["--set", f"{key}={value}"]
        self.arguments += ["--config", str(file)] if file else []
        super().__init__(*self.arguments, env=env)
        ready = self.wait_for("application_ready")
        self.address, self.instance = ready["listen"], ready["management_listen"]
        self.ws = f"ws://{self.address}/api/v1/chat/ws"
        # A connection each: a server may end an idle one at any moment, and httpx does not ask again.
        self.http = httpx.Client(base_url=f"http://{self.address}", timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
        prometheus.watch(self.instance, job)

    def post(self, path, headers=None, **body):
        return self.http.post(f"/api/v1/{path}", json=body, headers=headers)

    def ask(self, message="tell me", headers=None, **body):
        return self.post("chat", headers=headers, message=message, **body)


def upstreams(path, *models):
    """A configuration file with these models as upstreams."""
    tables = [f'[[llm.upstreams]]\nname = "{name}"\nbase_url = "http://{model.address}/v1"\nmodel = "{name}-model"\n'
              for name, model in models]
    path.write_text("\n".join(tables))
    return path


def new_key(name):
    """An API key and its entry for the file."""
    lines = subprocess.run([BINARY, "keys", "new", name], capture_output=True, text=True, check=True).stdout
    return lines


class Ledger:
    """What was done, as series and how much they must have moved."""

    def __init__(self):
        self.exact, self.least, self.seen_values = {}, {}, {}

    def exactly(self, series, count=1):
        self.exact[series] = self.exact.get(series, 0) + count

    def moved(self, *series, least=1):
        for one in series:
            self.least[one] = max(least, self.least.get(one, 0))

    def seen(self, series, value=1):
        """A gauge was seen this high."""
        self.seen_values[series] = value

    def check_exact(self, prometheus):
        """Waits until every counter is what was done, no more and no less."""
        wrong = {}
        for series, count in self.exact.items():
            expression = f"sum(max_over_time(polylogue_{series}[1h]))"
            try:
                until(series, lambda: prometheus.value(expression) == count, 5)
            except AssertionError:
                wrong[series] = (prometheus.value(expression), count)
        assert not wrong, "is, should be: " + json.dumps(wrong, indent=1)

    def check_all(self, prometheus):
        wrong = {}
        for series, least in (self.least | self.seen_values).items():
            prefix = "" if series.startswith("process_") else "polylogue_"
            expression = f"sum(max_over_time({prefix}{series}[1h]))"
            if prometheus.value(expression) < least:
                wrong[series] = (prometheus.value(expression), least)
        assert not wrong, "is, should be at least: " + json.dumps(wrong, indent=1)
