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


@pytest.fixture(autouse=True)
def no_part_has_ended(request):
    """A part of the cluster that dies is not to be looked for in what fails after it."""
    yield
    if "world" in request.fixturenames:
        ended = request.getfixturevalue("world").cluster.ended()
        assert not ended, "\n".join(f"{name} ended: {log}" for name, log in ended.items())
