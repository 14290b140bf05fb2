"""A Redis of one's own, without persistence, for the runs that share state."""

import socket
import time
from pathlib import Path

from .processes import Process, free_port


def start(directory: Path) -> tuple[Process, int]:
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(directory)]
    process = Process("redis", argv, log=directory / "redis.log")
    for _ in range(100):
        try:
            command(port, "PING")
            return process, port
        except OSError:
            time.sleep(0.1)
    process.stop()
    raise RuntimeError(f"redis does not answer:\n{process.tail()}")


def command(port: int, line: str) -> str:
    """One inline command and its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"{line}\r\n".encode())
        connection.settimeout(5)
        answer = connection.recv(65536)
        if answer.startswith(b"$"):
            head, _, rest = answer.partition(b"\r\n")
            while len(rest) < int(head[1:]) + 2:
                rest += connection.recv(65536)
            return rest[: int(head[1:])].decode()
        return answer.decode().strip()


def calls(port: int) -> dict[str, int]:
    """How often each command was called."""
    found = {}
    for line in command(port, "INFO commandstats").splitlines():
        name, _, rest = line.partition(":calls=")
        if rest:
            found[name.removeprefix("cmdstat_")] = int(rest.partition(",")[0])
    return found
