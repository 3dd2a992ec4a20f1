"""Clusters of real processes. Workers find the modules of support/on_workers by name, as if installed."""

import os
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parents[1] / "support" / "on_workers")
sys.path.insert(0, HERE)

from patchlake.cluster.connect import connect  # noqa: E402
from patchlake.cluster.kinds.local import LocalSpec  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _modules_found_by_children():
    """A gang's ranks are started with -P: only PYTHONPATH tells them where to look."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, before]))
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def cluster():
    with connect(LocalSpec(workers=2, dashboard=False)) as cluster:
        yield cluster
