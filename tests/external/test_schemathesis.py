"""Schemathesis holds the running service to its own document, with every check it has."""

import os
import pathlib
import subprocess
import sys

from conftest import CACHE, UNLIMITED, ends_well, serve

HERE = pathlib.Path(__file__).parent
# How many inputs it makes up for one operation: 20 s in all. To look further, set more.
EXAMPLES = os.environ.get("EXAMPLES", "50")


def test_the_service_keeps_to_its_document():
    service = serve(*UNLIMITED, "simulator.tokens=3", "simulator.time_to_first_token=0ms", "simulator.token_gap=0ms")
    ran = subprocess.run([pathlib.Path(sys.executable).with_name("schemathesis"),
                          "--config-file", HERE / "schemathesis.toml", "run", service.url + "/openapi.json",
                          "--checks", "all", "--max-examples", EXAMPLES, "--seed", "1", "--workers", "1",
                          "--request-timeout", "20", "--no-color"],
                         env=os.environ | {"PYTHONPATH": str(HERE)}, cwd=CACHE, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    ends_well(service)
