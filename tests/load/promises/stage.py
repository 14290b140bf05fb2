"""What every measurement of a promise is given, and what it gives back."""

from dataclasses import dataclass, field
from pathlib import Path

from compare.loadtool import LoadTool
from compare.processes import Process


@dataclass(frozen=True)
class Stage:
    """The upstream, the programs, and how much time there is."""

    directory: Path
    upstream: str
    upstream_process: Process
    binary: Path
    tool: LoadTool
    is_quick: bool
    rounds: int


@dataclass
class Promise:
    """One row of the table."""

    what: str
    target: str
    measured: str
    is_met: bool | None
    against_direct: str = "–"
    against_peers: str = "–"
    # What was measured, for who wants to look closer.
    details: dict = field(default_factory=dict)
