"""Makes the tests' own parts importable, k8s/render.py and charts/generate.py."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / folder) for folder in ("k8s", "charts"))]

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """One cluster for all tests that need one."""
    from world import World
    # The path of a Unix socket must be short.
    place = pathlib.Path("/tmp") / f"kube-{tmp_path_factory.mktemp('w').parent.name}"
    made = World(place)
    yield made
    made.down()
