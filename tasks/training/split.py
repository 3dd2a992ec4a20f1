"""Which side a source is on: learnt from, or judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchlake.tasks.keys import hash01


def is_test(source: Mapping[str, Any], test_fraction: float) -> bool:
    """Return whether a row of `sources` judges: the split that it gives, else hash01(group) < test_fraction.

    The group of a source that names none is its video, so that a video is never on both sides.
    """
    if source["split"] is not None:
        return bool(source["split"] == "test")
    return hash01(source["group"] or source["video_id"]) < test_fraction
