"""The table `videos`: one row per distinct content."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from patchlake.tasks.lake.schema.columns import FLAG, INT, LONG, REAL, TEXT, Row, TableSchema, content
from patchlake.tasks.types import Video

VIDEOS = TableSchema(
    "videos",
    {
        "video_id": content(TEXT),
        "container": TEXT,
        "codec": content(TEXT),
        "pixel_format": TEXT,
        "width": content(INT),
        "height": content(INT),
        "rotation": content(INT),
        "sample_aspect_num": LONG,
        "sample_aspect_den": LONG,
        "fps": REAL,
        "fps_num": LONG,
        "fps_den": LONG,
        "time_base_num": LONG,
        "time_base_den": LONG,
        "num_frames": content(LONG),
        "num_frames_from_header": LONG,
        "first_pts": LONG,
        "first_pts_seconds": content(REAL),
        "duration_seconds": content(REAL),
        "duration_seconds_from_header": REAL,
        "variable_rate": FLAG,
        "counted": FLAG,
        "num_video_streams": INT,
        "has_audio": FLAG,
    },
)
_RATIOS = ("sample_aspect", "fps", "time_base")
"""Stored exactly, as numerator and denominator."""


def video_row(video: Video) -> Row:
    """Return the row of `videos`."""
    ratios: dict[str, int] = {}
    for name in _RATIOS:
        ratio: Fraction = getattr(video, name)
        ratios |= {f"{name}_num": ratio.numerator, f"{name}_den": ratio.denominator}
    return VIDEOS.row(video, **{**ratios, "fps": float(video.fps)})


def video_of(row: Mapping[str, Any]) -> Video:
    """Return the video of a row."""
    ratios: dict[str, Any] = {name: Fraction(row[f"{name}_num"], row[f"{name}_den"]) for name in _RATIOS}
    computed = {"fps", "first_pts_seconds", *(f"{name}_{part}" for name in _RATIOS for part in ("num", "den"))}
    plain: dict[str, Any] = {name: value for name, value in row.items() if name not in computed}
    return Video(**plain, **ratios)
