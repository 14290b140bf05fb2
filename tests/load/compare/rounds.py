"""Interleaved rounds: A B C A B C, so that what the machine does beside them falls on all alike; medians of them."""

import statistics
import sys
from dataclasses import dataclass, field

from .loadtool import Figures, LoadTool
from .peers import Peer, Running
from .work import Work


@dataclass
class Cell:
    """What one peer did with one work, round by round."""

    rounds: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def median(self) -> Figures | None:
        if not self.rounds:
            return None
        columns = {name: [getattr(each, name) for each in self.rounds] for name in Figures.__dataclass_fields__}
        sums = ("errors", "refused", "flaws", "completed")
        values = {name: sum(column) if name in sums else middle(column) for name, column in columns.items()}
        return Figures(**values)


def middle(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def run(works: list[Work], peers: dict[str, tuple[Peer, Running]], tool: LoadTool, rounds: int) -> dict[str, dict[str, Cell]]:
    """Every work by every peer that can do it, `rounds` times."""
    found = {work.name: {name: Cell() for name, (peer, _) in peers.items() if work.can(peer)} for work in works}
    for number in range(1, rounds + 1):
        for work in works:
            for name, cell in found[work.name].items():
                peer, running = peers[name]
                try:
                    figures = tool.run(work.argv(peer, running), running.pids(), f"{work.name}, {name}")
                except Exception as error:  # one peer's failure must not cost the others their results
                    cell.failures.append(str(error)[:500])
                    print(f"round {number}: {work.name}: {name}: {error}", file=sys.stderr, flush=True)
                    continue
                cell.rounds.append(figures)
                said = f"{figures.throughput:.0f}/s, {figures.errors} errors, {figures.refused} refused, {figures.flaws} flaws"
                print(f"round {number}: {work.name}: {name}: {said}", file=sys.stderr, flush=True)
    return found
