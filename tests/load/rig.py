"""What curves and soak need around the load generator: programs that are started and ended, and pictures of what they did.

Only Python's own library is used. Everything listens on loopback, on ports that the kernel chose.
"""

import atexit
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "load" / "results"
HUGE = "1000000000"

# Limits protect a service from one caller, and here there is only one: all of them are lifted, so that the service's own
# bounds are what is measured.
UNLIMITED = {
    "limits.policies.default.quota": HUGE,
    "limits.policies.resume.quota": HUGE,
    "websocket.max_per_client": "100000",
    "websocket.max_total": "100000",
    "websocket.max_frames_per_second": HUGE,
    "server.max_connections": "100000",
    "server.max_connections_per_address": "0",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def raise_descriptors(wanted=262_144):
    """As many open files as we may have, here and in every program that is started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(wanted, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (ValueError, OSError):
            continue
    return soft


def binary(name, package, variable):
    """A program: as the environment names it, or built now."""
    if os.environ.get(variable):
        return os.environ[variable]
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--package", package, "--bin", name]
    say(f"building {name}; {variable} may name one that is built already")
    subprocess.run(command, cwd=ROOT, check=True)
    return str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / name)


def on(cpus):
    """What a program does before it begins, to run on these cores only."""
    return None if cpus is None else lambda: os.sched_setaffinity(0, cpus)


def halves():
    """The cores in two halves; nothing to choose if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    middle = len(cores) // 2
    return (cores[:middle], cores[middle:]) if middle else (None, None)


class Rig:
    """Programs that are ended with us, in the reverse order of their start."""

    def __init__(self):
        self.descriptors = raise_descriptors()
        self.load_binary = binary("polylogue-load", "polylogue-load", "POLYLOGUE_LOAD_BIN")
        self.service_binary = binary("polylogue", "polylogue", "POLYLOGUE_BIN")
        self.place = Path(tempfile.mkdtemp(prefix="polylogue-load-"))
        self.running = []
        RESULTS.mkdir(exist_ok=True)
        atexit.register(self.close)
        # Ended from outside, we end what we started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def start(self, command, cpus=None, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=on(cpus), **options)
        self.running.append(process)
        return process

    def end(self, process, how=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.running:
            self.running.remove(process)

    def end_all(self):
        for process in reversed(list(self.running)):
            self.end(process, signal.SIGKILL)

    def close(self):
        self.end_all()
        shutil.rmtree(self.place, ignore_errors=True)

    def upstream(self, cpus=None, **options):
        """The fixed model server; its base address."""
        named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        process = self.start([self.load_binary, "upstream", *named], cpus, stdout=subprocess.PIPE, text=True)
        process.url = process.stdout.readline().strip()
        return process

    def redis(self, port=None):
        port = port or free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        process = self.start([*command, "--dir", str(self.place)], stdout=subprocess.DEVNULL)
        process.port, process.url = port, f"redis://127.0.0.1:{port}"
        wait_for(lambda: redis_says(port, "PING") == "PONG", "redis-server")
        return process

    def service(self, upstream, redis=None, settings=None, ports=(0, 0), cpus=None):
        settings = {"llm.base_url": upstream, "llm.model": "fixed", "telemetry.log_format": "json"} | UNLIMITED | (settings or {})
        if redis:
            settings["redis.url"] = redis
        command = [self.service_binary, "serve", "--listen", f"127.0.0.1:{ports[0]}"]
        command += ["--management-listen", f"127.0.0.1:{ports[1]}"]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return self.ready(command, "application_ready", cpus)

    def simulator(self, settings):
        command = [self.service_binary, "simulate-llm", "--set", "telemetry.log_format=json"]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return self.ready(command, "simulator_started")

    def ready(self, command, event, cpus=None):
        """Starts what logs JSON and waits until it says that it is ready."""
        log = (self.place / f"log-{time.monotonic_ns()}").open("wb")
        process = self.start(command, cpus, stdout=log, stderr=log, env={"PATH": os.environ.get("PATH", "")})
        process.log = Path(log.name)

        def line():
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)}\nended at once:\n{process.log.read_text()}")
            for text in process.log.read_text().splitlines():
                if event in text:
                    return json.loads(text)
            return None

        said = wait_for(line, event)
        fields = said.get("fields", said)
        process.base_url = fields.get("base_url")
        if "listen" in fields:
            process.url, process.management = f"http://{fields['listen']}", f"http://{fields['management_listen']}"
        return process

    def load(self, kind, *arguments, pids=(), cpus=None, **options):
        """Runs the generator and gives its results."""
        file = self.place / f"result-{time.monotonic_ns()}.json"
        command = self.load_command(kind, *arguments, pids=pids, json=file, **options)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=on(cpus))
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        result = json.loads(file.read_text())
        file.unlink()
        return result

    def load_command(self, kind, *arguments, pids=(), **options):
        named = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        watched = ["--service-pid", ",".join(map(str, pids))] if pids else []
        return [self.load_binary, kind, "--quiet", *map(str, arguments), *named, *watched]

    def plot(self, name, *diagrams):
        file = RESULTS / f"{name}.svg"
        subprocess.run([self.load_binary, "plot", "--svg", file], input=json.dumps(diagrams), text=True, check=True)


def diagram(title, x, lines, log_x=False):
    """Lines are {name: [(x, y), …]}; points without a value are left out."""
    kept = [{"name": name, "points": [p for p in points if p[1] is not None]} for name, points in lines.items()]
    return {"title": title, "x": x, "log_x": log_x, "lines": [line for line in kept if line["points"]]}


def keep(name, what):
    (RESULTS / f"{name}.json").write_text(json.dumps(what, indent=1) + "\n")


def table(title, heads, rows):
    """Markdown."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(heads) + " |")
    print("|" + "---:|" * len(heads))
    for row in rows:
        print("| " + " | ".join("–" if cell is None else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def at(result, name, which):
    """A percentile, if there is one."""
    found = result.get(name)
    return None if found is None else found[which]


def total(counts):
    return sum(counts.values())


def kilobytes(count):
    return None if count is None else round(count / 1000, 1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, name, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    sys.exit(f"{name} is not there after {seconds} s")


def redis_says(port, *words):
    """One command, and its answer as text; nothing if nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            asked = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            link.sendall(asked.encode())
            answer = link.makefile("rb")
            first = answer.readline().decode().strip()
            return answer.read(int(first[1:])).decode() if first.startswith("$") else first[1:]
    except (OSError, ValueError):
        return None


def fetch(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read().decode()
