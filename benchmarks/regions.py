"""How well regions of known objects are found: intersection over union, and what a frame costs, by how regions grow.

python benchmarks/regions.py [--frames 56]

The scene is tests/support/moving_scenes.py: a disc, a box and an octagon that move over a texture, H.264 4:2:0 of
640x448 scaled to 320x224. Colour: objects with little texture of their own; motion: the same with much. Each frame of
each object counts with the region that fits it best; the first frame, which has no motion, is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import moving_scenes as scenes

from patchlake.tasks import features
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.tracks import fit_frame
from patchlake.tasks.types import FrameArray, Source
from patchlake.tasks.unit import worker_setup
from patchlake.tasks.video.decoder import DecodeRequest, get_decoder
from patchlake.tasks.video.probe import probe_source

WAYS: tuple[dict[str, Any], ...] = (
    {"cell": 1},
    {"cell": 2},
    {"cell": 4},
    {"cell": 1, "window": 1},
    {"join": "motion", "cell": 1},
    {"join": "motion", "cell": 2},
)


def frames_of(path: Path, size: tuple[int, int]) -> FrameArray:
    """Return the file's frames on the frame grid, as a lake stores them."""
    probed = probe_source(Source(uri=str(path), size=path.stat().st_size, version=""))
    assert probed.video is not None
    video = probed.video
    request = DecodeRequest(
        uri=str(path), source_size=(video.height, video.width), geometry=fit_frame(video, size=size, fit="crop"),
        moves=(), time_base=video.time_base, first_pts=video.first_pts, counted=video.counted, seek_pts=None,
        pts_lo=0, pts_hi=None, grid=None,
    )  # fmt: skip
    return np.concatenate([frames.copy() for frames, _ in get_decoder().frames(request)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=56, help="of the scene")
    args = parser.parse_args()
    worker_setup.setup()
    masks = scenes.masks(args.frames)
    with tempfile.TemporaryDirectory() as folder:
        films = {
            join: frames_of(scenes.write(Path(folder) / f"{join}.mkv", scenes.film(args.frames, grain=g)), scenes.SIZE)
            for join, g in (("color", 6), ("motion", 100))
        }
    for way in WAYS:
        spec = RegionsSpec.model_validate({"kind": "regions", **way})
        extractor = features.build(spec, patches=Grid((8, 32, 32), (8, 32, 32)), frame_size=scenes.SIZE)
        film = films[spec.join]
        around = np.concatenate([film[: extractor.context_frames[0]], film])
        extractor(around[: 8 + extractor.context_frames[0]])
        begun = time.thread_time()
        labels = extractor(around)[..., 0]
        cost = (time.thread_time() - begun) / args.frames
        found = np.array(
            [[scenes.best_iou(labels[i], mask[i], spec.cell)[0] for i in range(1, args.frames)] for mask in masks]
        )
        named = ", ".join(f"{key} {value}" for key, value in {"join": spec.join, "window": spec.window, **way}.items())
        each = " / ".join(f"{mean:.3f} ({least:.3f})" for mean, least in zip(found.mean(1), found.min(1), strict=True))
        print(f"{named}: mean (least) IoU of {' / '.join(b.shape for b in scenes.BODIES)}: {each}; {cost * 1e3:.1f} ms")
    print(f"OpenCV {cv2.__version__}, {scenes.SIZE[1]}x{scenes.SIZE[0]} frames")


if __name__ == "__main__":
    main()
