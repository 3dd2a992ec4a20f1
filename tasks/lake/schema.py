"""Types to table rows and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from patchlake.tasks.types import BoxPath, Clip, Placement, Receipt, Source, Span, Track, Video

Row = dict[str, Any]


def source_row(source: Source, video_id: str | None) -> Row:
    """Return the row of `sources`."""
    names = ("uri", "size", "version", "label", "split", "group", "status", "reason", "message")
    return {**{name: getattr(source, name) for name in names}, "video_id": video_id}


def source_of(row: Mapping[str, Any]) -> Source:
    """Return the source of a row."""
    return Source(**{key: value for key, value in row.items() if key != "video_id"})


def video_row(video: Video) -> Row:
    """Return the row of `videos`."""
    names = ("video_id", "container", "codec", "pixel_format", "width", "height", "rotation", "num_frames", "first_pts",
             "num_frames_from_header", "first_pts_seconds", "duration_seconds", "duration_seconds_from_header",
             "variable_rate", "counted", "num_video_streams", "has_audio")  # fmt: skip
    row = {name: getattr(video, name) for name in names}
    for name in ("sample_aspect", "fps", "time_base"):
        ratio: Fraction = getattr(video, name)
        row |= {f"{name}_num": ratio.numerator, f"{name}_den": ratio.denominator}
    return {**row, "fps": float(video.fps)}


def video_of(row: Mapping[str, Any]) -> Video:
    """Return the video of a row."""
    ratios: dict[str, Any] = {
        name: Fraction(row[f"{name}_num"], row[f"{name}_den"]) for name in ("sample_aspect", "fps", "time_base")
    }
    plain: dict[str, Any] = {
        k: v for k, v in row.items() if not k.endswith(("_num", "_den")) and k not in ("fps", "first_pts_seconds")
    }
    return Video(**plain, **ratios)


def track_row(number: int, track: Track, to_source: tuple[float, ...] | None) -> Row:
    """Return the row of `tracks`; a box that moves is told by rows of `track_boxes`."""
    path = track.boxes
    box = list(path.boxes[0]) if path is not None and not path.seconds else None
    return {"track": number, "track_id": track.track_id, "video_id": track.video_id,
            "name": None if path is None else path.name, "box": box,
            "to_source": None if to_source is None else list(to_source)}  # fmt: skip


def box_rows(number: int, track: Track) -> list[Row]:
    """Return the rows of `track_boxes`, where the box moves: on the straight line between them."""
    if track.boxes is None:
        return []
    times = zip(track.boxes.seconds, track.boxes.boxes, strict=False)
    return [
        {"track": number, "seconds": seconds, "x": x, "y": y, "width": w, "height": h}
        for seconds, (x, y, w, h) in times
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


def annotation_rows(source: Source, video_id: str | None) -> list[Row]:
    """Return the rows of `annotations`: what the manifest says of parts of a source."""
    return [
        {"uri": source.uri, "video_id": video_id, "start_seconds": a.start_seconds, "stop_seconds": a.stop_seconds,
         "box": None if a.box is None else list(a.box), "label": a.label, "targets": list(a.targets)}
        for a in source.annotations
    ]  # fmt: skip


_SPAN = ("span_key", "track_id", "video_id", "start_seconds", "stop_seconds", "num_rows", "first_grid_row", "pts",
         "key_pts", "stop_pts")  # fmt: skip


def placement_row(placement: Placement) -> Row:
    """Return the row of `spans`."""
    span = {name: getattr(placement.span, name) for name in _SPAN}
    return {**span, "track": placement.track, "row_start": placement.row_start}


def placement_of(row: Mapping[str, Any]) -> Placement:
    """Return the placed span of a row."""
    return Placement(span=Span(**{name: row[name] for name in _SPAN}), track=row["track"], row_start=row["row_start"])


def clip_row(clip: Clip, placement: Placement, row_start: int, row_stop: int) -> Row:
    """Return the row of `clips`: a row range of its span."""
    return {
        "clip_id": clip.clip_id, "track": placement.track, "track_id": clip.track_id, "video_id": clip.video_id,
        "span_key": placement.span.span_key, "start_seconds": clip.start_seconds, "stop_seconds": clip.stop_seconds,
        "label": clip.label, "targets": list(clip.targets), "row_start": row_start, "row_stop": row_stop,
    }  # fmt: skip


def receipt_row(receipt: Receipt) -> Row:
    """Return the row of `receipts`."""
    pieces = receipt.pieces
    return {
        "unit_id": receipt.unit_id, "product": receipt.product, "product_digest": receipt.product_digest,
        "span_keys": [p.span_key for p in pieces], "slots": [p.slot for p in pieces],
        "row_starts": [p.row_start for p in pieces],
        "num_rows": [p.num_rows for p in pieces], "checksums": [f"{p.checksum:016x}" for p in pieces],
        "num_bytes": receipt.num_bytes, "wait_seconds": 0.0, **{f"{k}_seconds": v for k, v in receipt.seconds.items()},
    }  # fmt: skip
