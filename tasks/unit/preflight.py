"""What a run needs of its workers, looked at before any unit: the lake, a video, memory, versions, one thread each."""

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
from patchlake.tasks.storage.objects import open_uri
from patchlake.tasks.types import PIXELS

PACKAGES = (
    "patchlake", "distributed", "dask", "cloudpickle", "numpy", "zarr", "zarrs", "obstore", "av", "xxhash",
    "opencv-python-headless", "torch", "transformers",
)  # fmt: skip
"""What crosses the network or decides bytes: the same versions everywhere."""
BASE_BYTES = 250 << 20
"""What a worker takes before its first unit, libraries mostly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """What the coordinator put into the lake, for workers to find: it tells this lake from one of the same name."""

    lake: Location
    folder: str
    text: str
    sample: str | None = None
    """A source that the coordinator can read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerCheck:
    """What went wrong where a worker tried; empty if nothing did."""

    lake: str = ""
    sample: str = ""


def write_marker(lake: Location, sample: str | None = None) -> Marker:
    """Write a marker into the lake. `remove_marker` takes it away."""
    name = uuid.uuid4().hex
    marker = Marker(lake=lake, folder=f"{STAGE}/{name}", text=name, sample=sample if _readable(sample) == "" else None)
    (lake / marker.folder).put("marker", marker.text.encode())
    return marker


def remove_marker(marker: Marker) -> None:
    """Remove the marker and what workers wrote beside it."""
    marker.lake.delete(marker.folder)


def check_worker(marker: Marker) -> WorkerCheck:
    """Find the marker, write beside it (a write is a rename), and read the sample's first byte. Runs on each worker."""
    return WorkerCheck(lake=_lake_trouble(marker), sample=_readable(marker.sample))


def _lake_trouble(marker: Marker) -> str:
    place = marker.lake / marker.folder
    try:
        if (found := place.get("marker")) is None or found.decode() != marker.text:
            return "the lake there is not the one here: what the coordinator wrote is not to be seen"
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
    """Return a lower bound of what a unit takes: the libraries, and one slot of frames twice (in work, in writing)."""
    height, width = recipe.frames.size
    return BASE_BYTES + 2 * recipe.units.slot_frames * height * width * 3


def unit_bytes(recipe: Recipe, products: Mapping[str, Product], names: Iterable[str]) -> int:
    """Return a lower bound of what a unit with these products takes: beside frames, a slot of each of the others."""
    return bytes_needed(recipe) + sum(products[name].slot_bytes for name in names if name != PIXELS)


def _offered(worker: Mapping[str, Any]) -> float:
    return float(worker.get("resources", {}).get("MEMORY", 0))


def _is_left_out(worker: Mapping[str, Any], roomy: bool) -> bool:
    """Return whether a small worker gets no units, since it says how small it is, and others have the room."""
    return roomy and _offered(worker) > 0


def problems(
    recipe: Recipe, marker: Marker, workers: Mapping[str, Mapping[str, Any]], seen: Mapping[str, WorkerCheck]
) -> list[str]:
    """Return a sentence per thing that is wrong, naming the first worker that has it; none is well."""
    found: dict[str, str] = {}
    needed = bytes_needed(recipe)
    roomy = any(_offered(worker) >= needed for worker in workers.values())
    for address, worker in sorted(workers.items()):
        where = f"worker {address}"
        if worker["nthreads"] != 1:
            found.setdefault(
                "threads",
                f"{where} has {worker['nthreads']} threads, expected 1: start it with `patchlake worker`, or with "
                "--nthreads 1",
            )
        if worker["memory_limit"] and worker["memory_limit"] < needed and not _is_left_out(worker, roomy):
            found.setdefault(
                "memory",
                f"{where} may use {worker['memory_limit'] / 2**20:,.0f} MiB, units need at least "
                f"{needed / 2**20:,.0f} MiB: give workers more memory, or make units.slot_frames smaller",
            )
    for address, what in sorted(seen.items()):
        if what.lake:
            found.setdefault(
                "lake",
                f"worker {address} can't use the lake {marker.lake}: {what.lake}; expected a folder that all machines "
                "share, or a bucket that the worker's environment opens",
            )
        if what.sample:
            found.setdefault(
                "sample",
                f"worker {address} can't read {marker.sample}: {what.sample}; expected videos at the same path on all "
                "machines, or in a bucket",
            )
    return list(found.values())
