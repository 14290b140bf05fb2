"""Takes from the comparison what the table of promises says about peers."""

from .stage import Promise

OURS = "Polylogue"
# Ours once more, or not what a user gets.
NOT_PEERS = {OURS, "Polylogue on Redis", "direct"}


def medians(compared: dict, is_stream: bool, personas: int = 1) -> list[dict]:
    works = [work for work in compared["works"] if work["is_stream"] == is_stream and work["personas"] == personas]
    return [work | {"medians": {name: each["median"] for name, each in work["results"].items() if each["median"]}} for work in works]


def peak(compared: dict, is_stream: bool) -> dict[str, float]:
    """Everybody's best rate at any concurrency."""
    best: dict[str, float] = {}
    for work in medians(compared, is_stream):
        for name, figures in work["medians"].items():
            best[name] = max(best.get(name, 0), figures["throughput"])
    return best


def rates(compared: dict) -> list[Promise]:
    """Requests a second against every peer, for an answer in one piece and for a stream."""
    found = []
    for is_stream, title in ((False, "one answer"), (True, "streamed")):
        best = peak(compared, is_stream)
        peers = {name: rate for name, rate in best.items() if name not in NOT_PEERS}
        ours = best.get(OURS)
        if ours is None:
            continue
        cores = compared["machine"]["cores"]
        found.append(Promise(
            f"requests a second on {cores} cores, one persona, 16 tokens, {title}", "above every peer",
            f"{ours:,.0f}" + (f"; on Redis {best['Polylogue on Redis']:,.0f}" if "Polylogue on Redis" in best else ""),
            all(ours > rate for rate in peers.values()) if peers else None,
            f"{ours / best['direct']:.2f} of {best['direct']:,.0f}" if best.get("direct") else "–",
            "; ".join(f"{ours / rate:.1f}x {name} ({rate:,.0f})" for name, rate in peers.items()) or "none was measured",
        ))
    return found


def added(compared: dict, is_stream: bool) -> str:
    """What each peer adds to the direct call with one user at a time."""
    name = "first_token_p50" if is_stream else "p50"
    for work in medians(compared, is_stream):
        if work["concurrency"] == 1 and "direct" in work["medians"]:
            figures, direct = work["medians"], work["medians"]["direct"][name]
            each = [f"{peer} {values[name] - direct:.2f} ms" for peer, values in figures.items() if peer not in ("direct",)]
            return "p50 with one user: " + "; ".join(each)
    return "–"


def complete(promises: list[Promise], compared: dict) -> list[Promise]:
    """The same rows with what peers do, and the rows that are of nothing else, in their place."""
    for promise in promises:
        if promise.what.startswith("added latency"):
            promise.against_peers = added(compared, False)
        if promise.what.startswith("added time to first token"):
            promise.against_peers = added(compared, True)
    latencies = [promise for promise in promises if promise.what.startswith("added ")]
    return latencies + rates(compared) + [promise for promise in promises if promise not in latencies]
