"""patchlake: video corpora to labelled Zarr lakes of spacetime patches and features, on Dask, scheduled by Prefect.

This file is the package's door: the repository is the package `patchlake`, its folders flows, tasks and cluster are the
subpackages. Importing it imports nothing heavy; its names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchlake.tasks.lake import open_lake

__all__ = ["__version__", "open_lake"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("patchlake")
    if name == "open_lake":
        return importlib.import_module("patchlake.tasks.lake").open_lake
    raise AttributeError(f"module 'patchlake' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "cluster", "flows", "tasks"])
