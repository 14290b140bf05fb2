"""The promises as Markdown, and both tables into docs/speed.md, between their marks."""

import re
from pathlib import Path

from compare.machine import REPOSITORY, sentence
from compare.report import as_markdown, row

DOCUMENT = REPOSITORY / "docs/speed.md"
MET = {True: "yes", False: "**no**", None: "not measured"}


def table(result: dict) -> str:
    head = ["what", "target", "measured", "met", "against a direct call", "against peers"]
    lines = [row(head), row(["---"] * len(head))]
    for promise in result["promises"]:
        lines.append(row([promise["what"], promise["target"], promise["measured"], MET[promise["is_met"]],
                          promise["against_direct"], promise["against_peers"]]))
    size = "A quick run, to see that it works; not figures to quote. " if result["is_quick"] else ""
    return f"{size}Measured on {sentence(result['machine'])}, with {result['version']}.\n\n" + "\n".join(lines) + "\n"


def between(text: str, mark: str, inside: str) -> str:
    begin, end = f"<!-- begin {mark} -->", f"<!-- end {mark} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise RuntimeError(f"{DOCUMENT} has no place for {mark}: it needs {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n\n{inside.strip()}\n\n{end}", text)


def write(result: dict, compared: dict | None, document: Path = DOCUMENT) -> None:
    text = between(document.read_text(), "promises", table(result))
    if compared:
        text = between(text, "comparison", as_markdown(compared))
    document.write_text(text)
