"""Checks of the workers before any unit: each reaches the lake and a video, has enough memory, and one thread."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from patchlake.tasks.errors import PatchlakeError
from patchlake.tasks.lake.layout import STAGE
from patchlake.tasks.lake.product import Product
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.reading import open_uri
from patchlake.tasks.types import PIXELS

PACKAGES = (
    "patchlake", "distributed", "dask", "cloudpickle", "numpy", "zarr", "zarrs", "obstore", "av", "xxhash",
    "opencv-python-headless", "torch", "transformers",
)  # fmt: skip
"""Packages whose objects cross the network or that affect bytes: their versions must be equal everywhere."""
BASE_BYTES = 250 << 20
"""Memory of a worker before its first unit, mostly libraries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """A file that the coordinator writes into the lake: a worker that finds it sees this lake, not a namesake."""

    lake: Location
    folder: str
    text: str
    sample: str | None = None
    """URI of a source that the coordinator can read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerCheck:
    """What a worker could not do; empty if it could."""

    lake: str = ""
    sample: str = ""


def write_marker(lake: Location, sample: str | None = None) -> Marker:
    """Write a marker into the lake; `remove_marker` removes it. `sample`: a source for workers to try to read."""
    name = uuid.uuid4().hex
    marker = Marker(lake=lake, folder=f"{STAGE}/{name}", text=name, sample=sample if _readable(sample) == "" else None)
    (lake / marker.folder).put("marker", marker.text.encode())
    return marker


def remove_marker(marker: Marker) -> None:
    """Remove the marker and what workers wrote next to it."""
    marker.lake.delete(marker.folder)


def check_worker(marker: Marker) -> WorkerCheck:
    """Look for the marker, write a file next to it, and read the sample's first byte. Runs on each worker."""
    return WorkerCheck(lake=_lake_problem(marker), sample=_readable(marker.sample))


def _lake_problem(marker: Marker) -> str:
    place = marker.lake / marker.folder
    try:
        if (found := place.get("marker")) is None or found.decode() != marker.text:
            return "the lake there is not the one here: it lacks the file that the coordinator wrote"
        name = uuid.uuid4().hex
        place.put(name, b"1")
        return "" if place.get(name) == b"1" else "what was just written is not there"
    except Exception as error:  # obstore's errors have no common base
        return f"{type(error).__name__}: {error}"


def _readable(uri: str | None) -> str:
    if uri is None:
        return ""
    try:
        with open_uri(uri) as file:
            file.read(1)
    except (PatchlakeError, OSError) as error:
        return str(error)
    return ""


def bytes_needed(recipe: Recipe) -> int:
    """Return the minimum memory of a unit: libraries, and two slots of frames (one in work, one being written)."""
    height, width = recipe.frames.size
    return BASE_BYTES + 2 * recipe.units.slot_frames * height * width * 3


def unit_bytes(recipe: Recipe, products: Mapping[str, Product], names: Iterable[str]) -> int:
    """Return the minimum memory of a unit that writes these products: as above, plus a slot of each other product."""
    return bytes_needed(recipe) + sum(products[name].slot_bytes for name in names if name != PIXELS)


def _offered(worker: Mapping[str, Any]) -> float:
    return float(worker.get("resources", {}).get("MEMORY", 0))


def _is_left_out(worker: Mapping[str, Any], others_fit: bool) -> bool:
    """Return whether a small worker gets no units: it declares its memory as a resource, and others have enough."""
    return others_fit and _offered(worker) > 0


def problems(
    recipe: Recipe, marker: Marker, workers: Mapping[str, Mapping[str, Any]], checks: Mapping[str, WorkerCheck]
) -> list[str]:
    """Return a sentence for each problem, naming the first worker that has it; empty if there is none."""
    found: dict[str, str] = {}
    needed = bytes_needed(recipe)
    others_fit = any(_offered(worker) >= needed for worker in workers.values())
    for address, worker in sorted(workers.items()):
        where = f"worker {address}"
        if worker["nthreads"] != 1:
            found.setdefault(
                "threads",
                f"{where} has {worker['nthreads']} threads, expected 1: start it with `patchlake worker`, or with "
                "--nthreads 1",
            )
        if worker["memory_limit"] and worker["memory_limit"] < needed and not _is_left_out(worker, others_fit):
            found.setdefault(
                "memory",
                f"{where} may use {worker['memory_limit'] / 2**20:,.0f} MiB, units need at least "
                f"{needed / 2**20:,.0f} MiB: give workers more memory, or make units.slot_frames smaller",
            )
    for address, check in sorted(checks.items()):
        if check.lake:
            found.setdefault(
                "lake",
                f"worker {address} can't use the lake {marker.lake}: {check.lake}; expected a folder that all machines "
                "share, or a bucket that the worker's environment opens",
            )
        if check.sample:
            found.setdefault(
                "sample",
                f"worker {address} can't read {marker.sample}: {check.sample}; expected videos at the same path on all "
                "machines, or in a bucket",
            )
    return list(found.values())
