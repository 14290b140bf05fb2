"""Processes that are started, watched and stopped here; nothing is found by name."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

STOP_SECONDS = 10


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    """A process and its children, in a group of their own."""

    def __init__(self, name: str, argv: list[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None):
        self.name, self.argv, self.log = name, [str(part) for part in argv], log
        # Without compiled bytecode Python peers would pay at every start for what an image of theirs pays once.
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=inherited | (env or {}), cwd=cwd, start_new_session=True,
            )
        # Whatever ends this program, also in the middle of a start.
        atexit.register(self.stop)

    def is_running(self) -> bool:
        return self.child.poll() is None

    def pids(self) -> list[int]:
        """It and everything below it."""
        parents = {pid: parent for pid in all_pids() if (parent := parent_of(pid)) is not None}
        found = [self.child.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def memory_bytes(self) -> int:
        """What they hold together; what they share is counted once (PSS)."""
        return sum(proportional_set_size(pid) for pid in self.pids())

    def nice(self) -> int:
        """The highest niceness among them: on a busy machine a peer that is nicer than the others only looks slower."""
        found = [0]
        for pid in self.pids():
            try:
                found.append(os.getpriority(os.PRIO_PROCESS, pid))
            except OSError:
                continue
        return max(found, key=abs)

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if self.is_running():
            os.killpg(self.child.pid, signal.SIGTERM)
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)  # what outlived its parent
        except ProcessLookupError:
            pass
        self.child.wait()

    def tail(self) -> str:
        """The end of its log, for a message."""
        text = self.log.read_bytes()[-20_000:].decode(errors="replace")
        return "\n".join(line.strip()[:300] for line in text.splitlines() if line.strip())[-3000:]


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent_of(pid: int) -> int | None:
    try:
        # The name is in parentheses and may have anything in it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def proportional_set_size(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def stop_on_signal() -> None:
    """Makes SIGTERM end this program the way Ctrl-C does, so that what was started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def answers(url: str, timeout: float = 2) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.status == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False


def wait_for(url: str, process: Process, seconds: float = 420, pause: float = 0.1) -> float:
    """Waits until it answers 200; how long that took. A process that does not is stopped."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        if answers(url):
            return time.monotonic() - begin
        if not process.is_running():
            raise RuntimeError(f"{process.name} ended with {process.child.returncode}:\n{process.tail()}")
        time.sleep(pause)
    process.stop()
    raise RuntimeError(f"{process.name} does not answer at {url} after {seconds} s:\n{process.tail()}")
