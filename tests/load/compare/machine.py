"""What machine and which commit the figures are of."""

import os
import platform
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def output(argv: list[str], cwd: Path | None = None) -> str:
    """What a command prints, on either stream; its failure is an answer, too."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout or done.stderr).strip()


def describe() -> dict:
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu or platform.machine(),
        "memory_gib": round(memory_kib / 2**20),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 1),
        "commit": output(["git", "describe", "--always", "--dirty"], REPOSITORY),
    }


def sentence(machine: dict) -> str:
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"load average {machine['load_average']} before the run, commit {machine['commit']}"
    )
