"""A real Prometheus on loopback that scrapes twice a second, with the rules' minutes turned into seconds."""

import atexit
import json
import re
import subprocess
import time

import httpx

from conftest import START_SECONDS, free_port
from observed.catalogue import RULES

SCRAPE = "500ms"
DURATION = re.compile(r"(?<![\w.])(\d+)([mhd])\b(?=\]|$)", re.M)


def in_seconds(rules):
    """The rules with every minute as a second: 5m is 5s, 1h is 60s, 3d 4320s."""
    seconds = {"m": 1, "h": 60, "d": 1440}
    return DURATION.sub(lambda found: f"{int(found.group(1)) * seconds[found.group(2)]}s", rules)


class Prometheus:
    """Scrapes what `targets` names; jobs and instances may change while it runs."""

    def __init__(self, folder):
        self.folder, self.targets = folder, {}
        (folder / "rules.yaml").write_text(in_seconds(RULES.read_text()))
        self._write_targets()
        (folder / "prometheus.yaml").write_text(json.dumps({
            "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": [{"job_name": "files", "file_sd_configs": [
                {"files": [str(folder / "targets.json")], "refresh_interval": "1s"}]}],
        }))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(folder / "prometheus.log", "w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=self.log, stderr=subprocess.STDOUT)
        atexit.register(self.process.kill)
        self.client = httpx.Client(base_url=self.url, timeout=30)
        self.began = time.time()
        until("Prometheus is ready", self._is_ready, START_SECONDS)

    def _is_ready(self):
        try:
            return self.client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _write_targets(self):
        listed = [{"targets": [address], "labels": {"job": job, "namespace": "chat"}}
                  for address, job in self.targets.items()]
        new = self.folder / "targets.new"
        new.write_text(json.dumps(listed))
        new.rename(self.folder / "targets.json")

    def watch(self, address, job):
        """Scrapes this address from now on."""
        self.targets[address] = job
        self._write_targets()
        self.has_scraped(address)

    def forget(self):
        """Scrapes nothing any more."""
        self.targets = {}
        self._write_targets()

    def query(self, expression, at=None):
        """What it says now, as (labels, value)."""
        answer = self.client.get("/api/v1/query", params={"query": expression} | ({"time": at} if at else {})).json()
        assert answer["status"] == "success", (expression, answer)
        return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]

    def value(self, expression):
        """The one value it says; 0 if there is none."""
        return sum(value for _, value in self.query(expression))

    def course(self, expression, step=1):
        """What it says over the whole run, as (labels, [(time, value)])."""
        params = {"query": expression, "start": self.began, "end": time.time(), "step": step}
        answer = self.client.post("/api/v1/query_range", data=params).json()
        assert answer["status"] == "success", (expression, answer)
        return [(row["metric"], [(at, float(value)) for at, value in row["values"]]) for row in answer["data"]["result"]]

    def has_scraped(self, *addresses):
        """Waits until everything up to now has been scraped."""
        now = time.time()
        for address in addresses or tuple(self.targets):
            until(f"{address} is scraped", lambda: self.value(f'timestamp(up{{instance="{address}"}})') > now)

    def alerts(self):
        """The alerts that are there now, with what they say."""
        return self.client.get("/api/v1/alerts").json()["data"]["alerts"]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def until(claim, holds, seconds=20):
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not (held := holds()):
        assert time.monotonic() < deadline, f"never so: {claim}"
        time.sleep(0.1)
    return held
