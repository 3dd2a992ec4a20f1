"""Probing a source: its hash, and facts from its packets and first frame."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np

from patchlake.tasks.errors import OURS, DecodeError
from patchlake.tasks.storage.object_file import MOST_BYTES
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.storage.reading import open_uri
from patchlake.tasks.types import FrameIndex, IntArray, Reason, Source, Status, Video
from patchlake.tasks.video.decoder import Decoder, get_decoder

_EMPTY = hashlib.sha256().hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A source with its verdict, and its video if there is one."""

    source: Source
    video: Video | None = None
    index: FrameIndex | None = None

    @classmethod
    def lost(cls, source: Source, message: str) -> Probed:
        """Return the verdict on a source that repeatedly killed its worker."""
        return cls(source=replace(source, status="failed", reason="crash", message=message))


def probe_source(source: Source, *, decoder: Decoder | None = None) -> Probed:
    """Probe a source: one pass over its bytes for the hash, one over its packets in the decoding child."""
    try:
        video_id = content_hash(source.uri)
        if video_id == _EMPTY:
            raise DecodeError("empty", "the file has no bytes")
        facts, index = (decoder or get_decoder()).probe(source.uri)
    except DecodeError as exc:
        status: Status = "failed" if exc.reason in OURS or isinstance(exc, Unreachable) else "rejected"
        reason = cast(Reason, exc.reason)
        return Probed(source=replace(source, status=status, reason=reason, message=exc.message))
    if facts["cut_off"]:
        held, promised = facts["num_frames"], facts["num_frames_from_header"]
        message = f"the file is cut off: it holds {held} frames" + (f" of {promised}" if promised else "")
        source = replace(source, status="partial", reason="truncated", message=message)
    return Probed(source=source, video=video_of(video_id, facts, index), index=index)


def content_hash(uri: str) -> str:
    """Return the first 32 hex digits of the SHA-256 of a source's bytes, read in parts."""
    sha256 = hashlib.sha256()
    with open_uri(uri) as file:
        while data := file.read(MOST_BYTES):
            sha256.update(data)
    return sha256.hexdigest()[:32]


def is_variable_rate(pts: IntArray) -> bool:
    """Return whether ascending PTS match no constant rate: a frame is over one time base step off the mean rate.

    A constant rate rounded to whole steps is at most half a step off, and so are the first and the last frame.
    """
    if len(pts) < 3:
        return False
    even = np.linspace(0, float(pts[-1] - pts[0]), len(pts))
    return bool(np.abs(pts - pts[0] - even).max() > 1.001)


def video_of(video_id: str, facts: dict[str, Any], index: FrameIndex) -> Video:
    """Return a video from the child's facts about a file."""
    time_base = Fraction(facts["time_base"])
    sample_aspect = Fraction(facts["sample_aspect"])
    width, height = facts["width"], facts["height"]
    if facts["rotation"] in (90, 270):
        width, height, sample_aspect = height, width, 1 / sample_aspect
    first_pts, last_pts = int(index.pts[0]), int(index.pts[-1])
    return Video(
        video_id=video_id,
        container=facts["container"],
        codec=facts["codec"],
        pixel_format=facts["pixel_format"],
        width=width,
        height=height,
        rotation=facts["rotation"],
        sample_aspect=sample_aspect,
        fps=Fraction(facts["fps"]),
        time_base=time_base,
        num_frames=len(index.pts),
        num_frames_from_header=facts["num_frames_from_header"],
        first_pts=first_pts,
        duration_seconds=float((last_pts - first_pts + facts["last_duration"]) * time_base),
        duration_seconds_from_header=facts["duration_seconds_from_header"],
        variable_rate=is_variable_rate(index.pts),
        counted=facts["counted"],
        num_video_streams=facts["num_video_streams"],
        has_audio=facts["has_audio"],
    )
