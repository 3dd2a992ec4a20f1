"""Keys that identify work: equal keys, same work. Only content, recipe, model and code version go in."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from patchlake.tasks.types import BoxPath

DECODE_VERSION = 2
"""Increased whenever decoding, scaling or timing gives different bytes than before."""


def digest(*parts: Any) -> str:
    """Return 32 hex digits that identify JSON-like parts: equal parts, equal digest, on any machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash01(text: str) -> float:
    """Return a number in [0, 1) that depends only on the text: `hash01(group) < f` assigns a group to a split."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def track_id(video_id: str, boxes: BoxPath | None) -> str:
    """Return the identity of a box of a video; its name and label are not part of it."""
    return digest("track", video_id, _where(boxes))


def _where(boxes: BoxPath | None) -> Any:
    if boxes is None:
        return None
    return [boxes.boxes, boxes.seconds] if boxes.seconds else boxes.boxes[0]


def clip_id(track: str, start_seconds: float, stop_seconds: float, label: str | None = None) -> str:
    """Return the identity of a time range of a track.

    Labels are not part of it, but for a second label of one range: that clip is another than the first.
    """
    return digest("clip", track, start_seconds, stop_seconds, *([] if label is None else [label]))


def span_key(
    video_id: str,
    boxes: BoxPath | None,
    start_seconds: float,
    stop_seconds: float,
    frames: dict[str, Any],
) -> str:
    """Return the key of stored frames: content, boxes, time range, and how they are mapped to the frame grid."""
    return digest("span", video_id, _where(boxes), start_seconds, stop_seconds, frames, DECODE_VERSION)


def product_key(span: str, product_digest: str) -> str:
    """Return the key of one product of one span; the work to do is the requested keys minus those with receipts."""
    return digest("product", span, product_digest)
