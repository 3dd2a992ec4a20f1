"""The split: which sources are for training, which for test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchlake.tasks.keys import hash01

VALIDATE = "validate"
"""Split of sources that choose between models."""


def is_test(source: Mapping[str, Any], test_fraction: float) -> bool:
    """Return whether a row of `sources` is for test: by its `split` if given, else if hash01(group) < test_fraction.

    A source without a group is grouped by its video, so that a video is never in both parts.
    """
    if source["split"] is not None:
        return bool(source["split"] == "test")
    return hash01(source["group"] or source["video_id"]) < test_fraction
