"""What more personas in one turn cost: the slowest one's time, not the sum."""

import statistics

from compare import personas, polylogue
from compare.upstream import PACED

from .stage import Promise, Stage

# How much above one persona's time several may take and still be "the slowest one's time".
TOLERANCE = 1.1


def measure(stage: Stage) -> list[Promise]:
    service = polylogue.start(stage.binary, stage.directory / "personas", stage.upstream)
    counts = range(1, personas.COUNT + 1)
    times: dict[int, list[float]] = {count: [] for count in counts}
    direct: list[float] = []
    try:
        for _ in range(stage.rounds):
            for count in counts:
                asked = ",".join(personas.ids("paced", count))
                ask = ["chat", "--url", service.url, "--mix", "json", "--personas", asked, "--concurrency", "1"]
                times[count].append(stage.tool.run(ask, note=f"{count} personas").p50)
            ask = ["direct", "--url", stage.upstream, "--model", PACED, "--stream", "--concurrency", "1"]
            direct.append(stage.tool.run(ask, note="one model").p50)
    finally:
        service.process.stop()
    p50 = {count: statistics.median(each) for count, each in times.items()}
    curve = ", ".join(f"{count}: {value:.0f}" for count, value in p50.items())
    return [Promise(
        "N personas in parallel", "the slowest one's time, not the sum",
        f"p50 in ms by number of personas: {curve}", p50[personas.COUNT] <= p50[1] * TOLERANCE,
        f"one model alone: {statistics.median(direct):.0f} ms", details={"p50_ms": p50, "direct_p50_ms": direct},
    )]
