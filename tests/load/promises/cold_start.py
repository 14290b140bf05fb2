"""From starting the program to its first 200 on /readyz."""

import statistics
import time

from compare import polylogue

from .stage import Promise, Stage

TIMES = 10


def measure(stage: Stage) -> list[Promise]:
    seconds = []
    for number in range(TIMES):
        begin = time.monotonic()
        service = polylogue.start(stage.binary, stage.directory / f"start-{number}", stage.upstream, pause=0.002)
        seconds.append(time.monotonic() - begin)
        service.process.stop()
    middle = statistics.median(seconds)
    return [Promise(
        "cold start to ready", "< 1 s", f"{middle * 1000:.0f} ms (median of {TIMES}; slowest {max(seconds) * 1000:.0f} ms)",
        middle < 1, details={"seconds": seconds},
    )]
