"""Schemathesis holds the running service to its own document, with every check it has."""

import os
import subprocess
import sys

from conftest import CACHE, serve


def test_the_service_keeps_to_its_document():
    service = serve("limits.policies.default.quota=1000000", "limits.policies.resume.quota=1000000",
                    "simulator.tokens=3", "simulator.time_to_first_token=0ms", "simulator.token_gap=0ms")
    # One worker: with more, CPython 3.11 loses count of its parser's depth (SystemError).
    command = [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", service.url + "/openapi.json",
               "--checks", "all", "--max-examples", "25", "--seed", "1", "--workers", "1",
               "--request-timeout", "20", "--no-color"]
    config = os.path.join(os.path.dirname(__file__), "schemathesis.toml")
    if os.path.exists(config):
        command[1:1] = ["--config-file", config]
    CACHE.mkdir(exist_ok=True)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=CACHE)
    status = service.stop()
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert status == 0
