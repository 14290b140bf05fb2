#!/usr/bin/env python3
"""Writes the dashboards of the folder above. One description for all, so that units, variables and links stay the same.

Run: python3 dashboards/source/generate.py [--check]
"""

import json
import pathlib
import sys

import limits
import model
import overview
import runtime
import sockets
import state

HERE = pathlib.Path(__file__).parents[1]
ALL = [overview, model, sockets, limits, state, runtime]


def files():
    """Every dashboard's file and text."""
    return {HERE / f"{page.NAME}.json": json.dumps(page.dashboard(), indent=1, ensure_ascii=False) + "\n" for page in ALL}


def main():
    wrong = [path.name for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        sys.exit(f"run dashboards/source/generate.py: {', '.join(wrong)}" if wrong else 0)
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
