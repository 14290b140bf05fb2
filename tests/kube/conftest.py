"""Makes the tests' own parts importable, k8s/render.py and charts/generate.py."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / folder) for folder in ("k8s", "charts"))]

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def world():
    """One cluster for all tests that need one."""
    from world import World
    made = World(os.environ.get("KUBE_PLACE", "/nowhere"))
    yield made
    made.down()
