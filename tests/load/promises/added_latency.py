"""What Polylogue adds to a direct call at half of its peak rate: an open loop of the same rate at both, in turns."""

import statistics

from compare import polylogue
from compare.loadtool import Figures
from compare.upstream import PACED, WHOLE

from .stage import Promise, Stage

PEAK_USERS = 32
# An answer of the paced upstream takes 200 ms, most of which is waiting: it takes more users to keep the processors busy.
PACED_USERS = 800


def measure(stage: Stage) -> list[Promise]:
    service = polylogue.start(stage.binary, stage.directory / "latency", stage.upstream)
    try:
        return [whole(stage, service), stream(stage, service)]
    finally:
        service.process.stop()


def chat(service, mix: str, persona: str) -> list[str]:
    return ["chat", "--url", service.url, "--mix", mix, "--personas", persona]


def direct(stage: Stage, model: str, is_stream: bool) -> list[str]:
    return ["direct", "--url", stage.upstream, "--model", model, *(["--stream"] if is_stream else [])]


def half_of_peak(stage: Stage, ask: list[str], users: int) -> float:
    return stage.tool.run([*ask, "--concurrency", str(users)], note="peak, " + ask[4]).throughput / 2


def in_turns(stage: Stage, rate: float, asks: dict[str, list[str]]) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {name: [] for name in asks}
    for _ in range(stage.rounds):
        for name, ask in asks.items():
            found[name].append(stage.tool.run([*ask, "--rate", f"{rate:.1f}"], note=f"at half of the peak, {name}"))
    return found


def median(rounds: list[Figures], name: str) -> float:
    return statistics.median(getattr(each, name) for each in rounds)


def added(found: dict[str, list[Figures]], to: str, name: str) -> float:
    return median(found["Polylogue"], name) - median(found[to], name)


def details(rate: float, found: dict[str, list[Figures]]) -> dict:
    return {"rate": rate} | {name: [figures.as_dict() for figures in rounds] for name, rounds in found.items()}


def whole(stage: Stage, service) -> Promise:
    ours = chat(service, "json", "whole-1")
    rate = half_of_peak(stage, ours, PEAK_USERS)
    found = in_turns(stage, rate, {
        "Polylogue": ours,
        "direct": direct(stage, WHOLE, False),
        # Polylogue asks the model for a stream whatever its caller wants: the part of its cost that is the upstream's.
        "direct, streamed": direct(stage, WHOLE, True),
    })
    p50, p99 = added(found, "direct", "p50"), added(found, "direct", "p99")
    streamed = added(found, "direct, streamed", "p50"), added(found, "direct, streamed", "p99")
    return Promise(
        "added latency, non-streaming, at 50 % load", "p50 < 0.3 ms, p99 < 1 ms",
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms at {rate:.0f}/s; against a direct stream, which is what is asked of the model, "
        f"p50 {streamed[0]:.2f} ms, p99 {streamed[1]:.2f} ms",
        p50 < 0.3 and p99 < 1,
        f"p50 {median(found['Polylogue'], 'p50'):.2f} to {median(found['direct'], 'p50'):.2f} ms, "
        f"p99 {median(found['Polylogue'], 'p99'):.2f} to {median(found['direct'], 'p99'):.2f} ms",
        details=details(rate, found),
    )


def stream(stage: Stage, service) -> Promise:
    """At the paced upstream, whose tokens come as a model's do, each by itself: a token costs more then than one of many at once."""
    ours = chat(service, "sse", "paced-1")
    rate = half_of_peak(stage, ours, PACED_USERS)
    found = in_turns(stage, rate, {
        "Polylogue": ours,
        "direct": direct(stage, PACED, True),
    })
    p50, p99 = added(found, "direct", "first_token_p50"), added(found, "direct", "first_token_p99")
    return Promise(
        "added time to first token, streaming, at 50 % load", "p50 < 1 ms, p99 < 5 ms",
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms at {rate:.0f}/s, each answer taking 200 ms", p50 < 1 and p99 < 5,
        f"p50 {median(found['Polylogue'], 'first_token_p50'):.2f} to {median(found['direct'], 'first_token_p50'):.2f} ms, "
        f"p99 {median(found['Polylogue'], 'first_token_p99'):.2f} to {median(found['direct'], 'first_token_p99'):.2f} ms",
        details=details(rate, found),
    )
