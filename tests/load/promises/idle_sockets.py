"""What an idle WebSocket keeps in memory: resident memory with and without them, divided by their number."""

from compare import polylogue

from .stage import Promise, Stage


def measure(stage: Stage) -> list[Promise]:
    wanted = 1_000 if stage.is_quick else 10_000
    service = polylogue.start(stage.binary, stage.directory / "sockets", stage.upstream)
    try:
        # A few turns beside them, because the load generator measures a window of load.
        ask = ["chat", "--url", service.url, "--mix", "json", "--personas", "paced-1", "--concurrency", "1", "--idle-sockets", str(wanted)]
        result = stage.tool.run_raw(ask, [service.process.child.pid], "idle sockets")
    finally:
        service.process.stop()
    sockets, process = result["idle_sockets"], result["process"][0]
    each = process["rss_per_idle_socket"] / 1024
    is_whole = sockets["open"] == wanted and not sockets["lost"] and not sockets["refused"]
    return [Promise(
        "idle WebSocket, 10,000 of them", "< 11 KB resident each",
        f"{each:.1f} KiB each with {sockets['open']:,} of {wanted:,} open", is_whole and each * 1.024 < 11,
        details={"idle_sockets": sockets, "process": process},
    )]
