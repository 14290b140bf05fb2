"""The comparison as JSON and as Markdown."""

from .machine import sentence
from .work import Work

OURS = "Polylogue"


def as_json(machine: dict, settings: dict, works: list[Work], peers: dict, found: dict, commands: dict) -> dict:
    """`peers` maps names to what is known of each."""
    return {
        "machine": machine,
        "settings": settings,
        "peers": peers,
        "works": [
            {
                "name": work.name,
                "title": work.title,
                "is_stream": work.is_stream,
                "concurrency": work.concurrency,
                "personas": work.personas,
                "results": {
                    name: {
                        "median": median.as_dict() if (median := cell.median()) else None,
                        "rounds": [figures.as_dict() for figures in cell.rounds],
                        "failures": cell.failures,
                    }
                    for name, cell in found[work.name].items()
                },
            }
            for work in works
        ],
        "commands": commands,
    }


def number(value: float | None, digits: int | None = None) -> str:
    """Three significant digits, or what is asked for."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def ratio(value: float | None, to: float | None) -> str:
    return f"{number(value / to)}x" if value and to else "–"


def table(work: dict) -> str:
    results = {name: each["median"] for name, each in work["results"].items()}
    direct, ours = (results.get(name) or {} for name in ("direct", OURS))
    token = ["first token p50 / p99"] if work["is_stream"] else []
    head = ["", "a second", "of direct", f"{OURS} is", "p50 / p99 ms", *token, "CPU ms each", "failed"]
    lines = [row(head), row(["---", *["---:"] * (len(head) - 1)])]
    for name, median in results.items():
        if median is None:
            lines.append(row([name, "did not run", *["–"] * (len(head) - 2)]))
            continue
        first = [f"{number(median['first_token_p50'])} / {number(median['first_token_p99'])}"] if token else []
        lines.append(row([
            name, number(median["throughput"]), ratio(median["throughput"], direct.get("throughput")),
            "" if name == OURS else ratio(ours.get("throughput"), median["throughput"]),
            f"{number(median['p50'])} / {number(median['p99'])}", *first, number(median["cpu_ms"], 3),
            str(median["errors"] + median["refused"] + median["flaws"]),
        ]))
    return "\n".join(lines)


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_markdown(result: dict) -> str:
    settings = result["settings"]
    parts = [
        f"Measured on {sentence(result['machine'])}. The median of {settings['rounds']} rounds of {settings['seconds']:g} s each, "
        f"after {settings['warm_up']:g} s of warm-up; the peers took turns in every round. The load generator, the upstream and "
        "the peer share the cores.",
    ]
    if len(priorities := {peer["nice"] for peer in result["peers"].values() if "nice" in peer}) > 1:
        parts.append(f"**Not fair:** the processes had different priorities (nice {', '.join(map(str, sorted(priorities)))}).")
    for work in result["works"]:
        title = work["title"][0].upper() + work["title"][1:]
        parts += [f"### {title}", table(work)]
    parts += ["### Memory after the runs, and versions", peers_table(result["peers"]), notes(result["peers"]), "### Commands", commands(result["commands"])]
    return "\n\n".join(parts) + "\n"


def peers_table(peers: dict) -> str:
    lines = [row(["", "version", "memory MB", "settings"]), row(["---", "---", "---:", "---"])]
    for name, peer in peers.items():
        memory = number(peer["memory_bytes"] / 1e6, 0) if peer.get("memory_bytes") else "–"
        lines.append(row([name, peer["version"], memory, peer["settings"]]))
    return "\n".join(lines)


def notes(peers: dict) -> str:
    lines = [f"- {name}: {peer['does']}." for name, peer in peers.items()]
    lines += [f"- {name} did not run: {peer['failure']}" for name, peer in peers.items() if peer.get("failure")]
    return "What each does for a request:\n\n" + "\n".join(lines)


def commands(found: dict) -> str:
    return "```\n" + "\n".join(f"# {name}\n{command}" for name, command in found.items()) + "\n```"
