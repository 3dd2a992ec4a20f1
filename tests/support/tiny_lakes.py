"""Lakes of a second: three numbered clips of 32 x 32 pixels, brought in in this process.

done = ingest(videos_in(folder), TINY)

At 25 frames per second, in slots of 32 rows on a grid of 8, the packing of `pack` puts
a (40 frames) at rows 0..40, b (24) behind it at 40..64, where there is room, and c (30) in a slot of its own at 64..94.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numbered_clips as clips

LENGTHS = {"left/a.mp4": 40, "left/b.mp4": 24, "right/c.mp4": 30}
"""Frames of each video."""
ROW_STARTS = {"a": 0, "b": 40, "c": 64}
"""Where each video's only span lies."""
TINY: dict[str, Any] = {
    "corpus": {"videos": "videos", "labels": "folder"},
    "clips": [{"seconds": 0.8}],
    "frames": {"size": [32, 32]},
    "patches": {"size": [8, 16, 16]},
    "features": ["edges"],
    "units": {"slot_frames": 32, "slots": 1},
}


def videos_in(folder: Path, lengths: dict[str, int] = LENGTHS) -> Path:
    """Render the videos under a folder, and return that."""
    for i, (name, num_frames) in enumerate(lengths.items()):
        path = folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        clips.render(path, num_frames=num_frames, size=(32, 32), start=100 * i)
    return folder


def name_of(uri: str) -> str:
    """Return a video's name without folder and suffix."""
    return Path(uri).stem
