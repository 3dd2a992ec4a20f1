"""Frame filters: one file each, with its options. Frames are filtered before they are stored or used for features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from patchlake.tasks.filters.filter import Filter, FilterOptions, Scene
from patchlake.tasks.strict import Family

FILTERS = Family(
    "filters",
    {
        "denoise": (".denoise:DenoiseSpec", ".denoise:Denoise"),
        "stabilise": (".stabilise:StabiliseSpec", ".stabilise:Stabilise"),
        "blur": (".blur:BlurSpec", ".blur:Blur"),
        "custom": (".custom:CustomFilterSpec", ".custom:custom"),
    },
    options=FilterOptions,
    package=__name__,
)
"""Kind -> its options and what builds its filter."""

Entry = Annotated[FilterOptions, FILTERS]
"""One entry of a recipe's `frames.filters`."""

__all__ = ["FILTERS", "Entry", "Filter", "FilterOptions", "Scene", "build", "build_all", "keys_of"]


def build(entry: Any, frame_size: tuple[int, int]) -> Filter:
    """Return the filter of a recipe entry for frames of (height, width)."""
    made: Filter = FILTERS.build(entry, frame_size=frame_size)
    return made


def build_all(entries: Iterable[Any], frame_size: tuple[int, int]) -> list[Filter]:
    """Return the filters of a recipe, in order."""
    return [build(entry, frame_size) for entry in entries]


def keys_of(entries: Iterable[Any], frame_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return each filter's part in the keys of stored frames; this reads the files that a filter names."""
    built = [(entry.kind, build(entry, frame_size)) for entry in entries]
    return [{"kind": kind, "version": one.version, "options": one.digest_parts} for kind, one in built]


def context_of(filters: Iterable[Filter]) -> tuple[int, int]:
    """Return how many frames a chain of filters needs before and after each frame."""
    around = [one.context_frames for one in filters]
    return sum(before for before, _ in around), sum(after for _, after in around)
