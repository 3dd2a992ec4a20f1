"""The figures beside the speed of light are worth less than the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numbered_clips as clips
from command_line import Done
from user_extractors import MEAN, PAIRS

PICKY = f'''
import numpy as np


class Picky:
    """Mean of each frame pair; it does not bear the 16 frames with which the light begins."""
{PAIRS}
    def __call__(self, frames):
        if len(frames) == 16:
            raise ValueError("sixteen frames")
{MEAN}'''


def test_a_run_outlives_a_light_that_fails(
    patchlake: Callable[..., Done], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=20)
    wanted = {"corpus": {"videos": str(tmp_path / "videos")}, "features": ["edges", "picky:Picky"]}
    done = patchlake("run", str(recipe(**wanted)))
    assert done.code == 0, done.err
    assert "light: not measured. sixteen frames" in done.err
    assert "measured / light" not in done.out
    assert patchlake("verify", str(tmp_path / "lake" / "small")).code == 0
