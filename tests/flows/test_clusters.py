"""The same recipe on every kind of cluster gives the same lake, bit for bit; and what a cluster lacks is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clips
import pytest
from command import Done, running, wait_until

Run = Callable[..., Done]
Write = Callable[..., Path]

SHARED = ("apply_eye_makeup.avi", "archery.avi", "arm_wrestling.mp4")


@pytest.fixture(scope="module")
def corpora(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The synthetic clips, and by links a few real ones, where they are."""
    found = {"small": small_corpus}
    if os.path.isdir(clips.SHARED_VIDEOS):
        found["shared"] = tmp_path_factory.mktemp("shared")
        for name in SHARED:
            (found["shared"] / name).symlink_to(clips.SHARED_VIDEOS / "clips" / name)
    return found
