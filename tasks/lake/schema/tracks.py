"""The tables `tracks` (a video seen through one box) and `track_boxes` (moving boxes)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from patchlake.tasks.lake.schema.columns import INT, REAL, REALS, TEXT, Row, TableSchema, content, layout
from patchlake.tasks.types import BoxPath, Track

TRACKS = TableSchema(
    "tracks",
    {
        "track": layout(INT),
        "track_id": content(TEXT),
        "video_id": content(TEXT),
        "name": TEXT,
        "box": REALS,
        "to_source": content(REALS),
    },
)
TRACK_BOXES = TableSchema(
    "track_boxes",
    {
        "track": layout(INT),
        "seconds": content(REAL),
        "x": content(REAL),
        "y": content(REAL),
        "width": content(REAL),
        "height": content(REAL),
    },
)


def track_row(number: int, track: Track, to_source: tuple[float, ...] | None) -> Row:
    """Return the row of `tracks`; it holds a fixed box, while a moving box is in rows of `track_boxes`."""
    path = track.boxes
    return TRACKS.row(
        track,
        track=number,
        name=None if path is None else path.name,
        box=list(path.boxes[0]) if path is not None and not path.seconds else None,
        to_source=None if to_source is None else list(to_source),
    )


def box_rows(number: int, track: Track) -> list[Row]:
    """Return the rows of `track_boxes` of a moving box; between them it moves in a straight line."""
    if track.boxes is None:
        return []
    times = zip(track.boxes.seconds, track.boxes.boxes, strict=False)
    return [
        {"track": number, "seconds": seconds, "x": x, "y": y, "width": width, "height": height}
        for seconds, (x, y, width, height) in times
    ]


def path_of(track: Mapping[str, Any], boxes: Iterable[Mapping[str, Any]]) -> BoxPath | None:
    """Return the boxes of a row of `tracks`, given its rows of `track_boxes`; None: the whole frame."""
    if track["box"] is not None:
        return BoxPath(name=track["name"], boxes=(tuple(track["box"]),))
    found = sorted(boxes, key=lambda box: box["seconds"])
    if not found:
        return None
    return BoxPath(
        name=track["name"],
        seconds=tuple(box["seconds"] for box in found),
        boxes=tuple((box["x"], box["y"], box["width"], box["height"]) for box in found),
    )


def paths_of(tracks: Iterable[Mapping[str, Any]], boxes: Iterable[Mapping[str, Any]]) -> dict[int, BoxPath | None]:
    """Return number of a track -> its boxes, for rows of `tracks` and of `track_boxes`."""
    by_track: dict[int, list[Mapping[str, Any]]] = {}
    for box in boxes:
        by_track.setdefault(box["track"], []).append(box)
    return {track["track"]: path_of(track, by_track.get(track["track"], ())) for track in tracks}
