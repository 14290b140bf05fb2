"""Calls polylogue-load and takes from its results what is compared."""

import json
import shlex
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

# How long a run may take beyond what it was asked for.
GRACE_SECONDS = 60
# What may be wrong with the events of a turn.
FLAWS = ("lost_events", "doubled_events", "reordered_events", "wrong_texts", "events_after_end", "wrong_frames")


@dataclass(frozen=True)
class Figures:
    """One run's figures; times in milliseconds, none where nothing completed."""

    throughput: float
    completed: int
    errors: int
    refused: int
    p50: float | None
    p99: float | None
    first_token_p50: float | None
    first_token_p99: float | None
    cpu_ms: float | None
    flaws: int

    def as_dict(self) -> dict:
        return asdict(self)


def milliseconds(histogram: dict | None, name: str) -> float | None:
    return histogram.get(name) if histogram else None


def sum_of(value) -> int:
    """Counts by reason, or their sum."""
    return sum(value.values()) if isinstance(value, dict) else int(value or 0)


def figures_of(result: dict) -> Figures:
    processes = result.get("process") or []
    completed = result["completed"]
    cpu_seconds = sum(process["cpu_seconds"] for process in processes)
    return Figures(
        throughput=result["throughput"],
        completed=completed,
        errors=sum_of(result["errors"]),
        refused=sum_of(result["refused"]),
        p50=milliseconds(result.get("latency_ms"), "p50"),
        p99=milliseconds(result.get("latency_ms"), "p99"),
        first_token_p50=milliseconds(result.get("first_token_ms"), "p50"),
        first_token_p99=milliseconds(result.get("first_token_ms"), "p99"),
        cpu_ms=cpu_seconds * 1000 / completed if processes and completed else None,
        flaws=sum(int(result.get(name) or 0) for name in FLAWS),
    )


class LoadTool:
    """The load generator, the same for everyone."""

    def __init__(self, program: Path, seconds: float, warm_up: float):
        self.program, self.seconds, self.warm_up = program, seconds, warm_up
        self.commands: dict[str, str] = {}

    def run_raw(self, argv: list[str], pids: list[int] = (), note: str = "", seconds: float | None = None) -> dict:
        """One run; everything it found."""
        seconds = seconds or self.seconds
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            options = ["--duration", f"{seconds}s", "--warm-up", f"{self.warm_up}s", "--quiet", "--json", file.name]
            watched = ["--service-pid", ",".join(map(str, pids))] if pids else []
            command = [str(self.program), *argv, *options, *watched]
            self.commands[note or argv[0]] = shlex.join([self.program.name, *argv, *options[:4]])
            limit = seconds + self.warm_up + GRACE_SECONDS
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
            text = Path(file.name).read_text()
            if not text:
                raise RuntimeError(f"{shlex.join(command)} failed: {done.stderr.strip()[-2000:]}")
            return json.loads(text)

    def run(self, argv: list[str], pids: list[int] = (), note: str = "", seconds: float | None = None) -> Figures:
        return figures_of(self.run_raw(argv, pids, note, seconds))
