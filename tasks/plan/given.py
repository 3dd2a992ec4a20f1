"""What the files named in a recipe say about its sources: boxes, events, and boxes to hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from patchlake.tasks.corpus.annotations import match, read_boxes
from patchlake.tasks.corpus.events import read_events
from patchlake.tasks.features.regions import linking
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import Annotation, BoxPath, Source


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the files named in a recipe say about its sources."""

    boxes: Mapping[str, Sequence[BoxPath]]
    """uri -> its boxes."""
    events: Mapping[str, Mapping[str, Sequence[Annotation]]]
    """File -> uri -> its events."""
    hidden: Mapping[str, Sequence[tuple[str, BoxPath]]]
    """uri -> file and box of each area that a filter (`blur`) hides."""
    unmatched: Mapping[str, int]
    """File -> how many of its names match no source."""
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """File of events -> why -> how many of its rows are no event."""
    found: Mapping[str, Sequence[BoxPath]] = field(default_factory=dict)
    """video_id -> boxes of regions found in it so far."""


def read_given(
    recipe: Recipe, sources: Sequence[Source], found: Mapping[str, Sequence[BoxPath]] | None = None
) -> Given:
    """Read the boxes and events files that the recipe names; each must match at least one source.

    `found`: video_id -> boxes of regions that the lake already holds.
    """
    unmatched: dict[str, int] = {}

    def by_uri(file: str, rows: Sequence[tuple[str, Any]]) -> dict[str, list[Any]]:
        uris, unknown = match({name for name, _ in rows}, sources, file=file)
        unmatched[file] = len(unknown)
        found: dict[str, list[Any]] = {}
        for name, row in rows:
            if name in uris:
                found.setdefault(uris[name], []).append(row)
        return found

    boxes = "" if recipe.tracks == "frame" or recipe.tracks.are_found else recipe.tracks.boxes
    files = dict.fromkeys(method.events_file for method in recipe.clips if method.events_file is not None)
    hidden: dict[str, list[tuple[str, BoxPath]]] = {}
    for file in dict.fromkeys(f.hidden_boxes for f in recipe.frames.filters if f.hidden_boxes):
        for uri, paths in by_uri(file, read_boxes(file)).items():
            hidden.setdefault(uri, []).extend((file, path) for path in paths)
    event_files = {file: read_events(file) for file in files}
    return Given(
        boxes=by_uri(boxes, read_boxes(boxes)) if boxes else {},
        events={file: by_uri(file, read.events) for file, read in event_files.items()},
        left_out={file: read.left_out for file, read in event_files.items()},
        hidden=hidden,
        unmatched=unmatched,
        found=found or {},
    )


def found_boxes(dataset: Dataset) -> dict[str, list[BoxPath]]:
    """Return video_id -> boxes of the regions in the lake; {} unless the recipe's tracks follow regions."""
    tracks = dataset.recipe.tracks
    if tracks == "frame" or not tracks.are_found:
        return {}
    wanted = dataset.products[tracks.product].digest
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in dataset.tables.regions.rows():
        if row["product_digest"] == wanted:
            by_video.setdefault(row["video_id"], []).append(row)
    videos = dataset.ledger.videos
    return {key: linking.paths_of(found, videos[key], tracks) for key, found in by_video.items() if key in videos}
