"""The corpora and recipes of same_bytes.py: lakes that together use every feature, filter, clip method and track."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import moving_scenes
import numbered_clips
import onnx_detector
import reference_features
import small_networks
import user_extractors

Frames = Iterable[np.ndarray[Any, np.dtype[np.uint8]]]
Recipe = dict[str, Any]
FPS = 25
IMPORTED = f'''
import numpy as np

class Mean:
{user_extractors.PAIRS}
    def __call__(self, frames):
{user_extractors.MEAN}

class Negative:
    """A filter: light is dark."""
    version, context_frames = 1, (0, 0)

    def __init__(self, frame_size):
        self.digest_parts = {{}}

    def __call__(self, frames, scene):
        return 255 - frames
'''


def write(path: Path, frames: Frames, *, tone_hertz: float | None = None) -> None:
    """Encode RGB frames as H.264 at 25 per second, with a sine as sound where asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = list(frames)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"qp": "8", "g": "12", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono") if tone_hertz else None
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(video.encode(None))
        if sound is not None:
            seconds = np.arange(16000 * len(frames) // FPS) / 16000
            samples = (np.sin(2 * np.pi * (tone_hertz or 0) * seconds) * seconds / seconds[-1] * 20000).astype(np.int16)
            block = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))


def make_corpora(folder: Path) -> None:
    """Render every corpus, and save the networks and modules that recipes name."""
    numbered = folder / "numbered"
    (numbered / "left").mkdir(parents=True)
    (numbered / "right").mkdir()
    numbered_clips.render(numbered / "left" / "a.mp4", num_frames=40, gop=12, bframes=2)
    numbered_clips.render(numbered / "left" / "b.mkv", num_frames=75, gop=10)
    numbered_clips.render(numbered / "right" / "turned.mp4", num_frames=33, rotation=90, start=100)
    times = [int(i * 40 + 15 * (i % 3)) for i in range(60)]
    numbered_clips.render(numbered / "right" / "uneven.mkv", num_frames=60, times_ms=times, start=200)
    (numbered / "right" / "text.mp4").write_text("no video\n" * 50)
    (numbered / "left" / "same.mp4").write_bytes((numbered / "left" / "a.mp4").read_bytes())
    write_rows(folder / "events.csv", [{"uri": "numbered/left/b.mkv", "start": 0.5, "stop": 1.9, "label": "event"}])
    write(folder / "cuts" / "cuts.mkv", cuts())
    for name, hertz in (("high", 3000.0), ("low", 300.0)):
        write(folder / "faces" / name / f"{name}.mkv", faces(int(hertz)), tone_hertz=hertz)
    moved = {"track": "a", "width": 48, "height": 48, "label": "thing"}
    boxes = [{"seconds": t, "x": 8 + 20 * t, "y": 12 + 5 * t, **moved} for t in (0.0, 1.0, 2.0)]
    still = {"track": "b", "seconds": "", "x": 32, "y": 24, "width": 64, "height": 48, "label": "rest"}
    write_rows(folder / "boxes.csv", [{"uri": "numbered/left/b.mkv", **row} for row in (*boxes, still)])
    write_rows(folder / "hidden.csv", [{"uri": "faces/low/low.mkv", **row} for row in boxes])
    film = moving_scenes.film(48)
    write(folder / "scenes" / "left" / "a.mkv", film)
    write(folder / "scenes" / "right" / "a.mkv", film[:, :, ::-1])
    for i in range(16):
        name = ("left", "right")[i % 2]
        write(folder / "drifting" / name / f"{i:02d}.mkv", drifting(seed=i, step=3 if i % 2 else -3))
    make_modules(folder)


def make_modules(folder: Path) -> None:
    """Save small networks, a face detector and a user's own module."""
    torch.manual_seed(0)
    for name in ("vit", "dinov2", "videomae"):
        small_networks.make(name).save_pretrained(folder / "networks" / name)
    small_networks.export(folder / "networks" / "maps.pt2", small_networks.Maps(2), (2, 3, 48, 64))
    (folder / "networks" / "trained").mkdir()
    small_networks.trained(folder / "networks" / "trained", "st_cnn", 8)
    onnx_detector.write_detector(folder / "networks" / "red.onnx", size=(96, 96))
    (folder / "mine.py").write_text(IMPORTED)


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def cuts() -> Frames:
    """Yield three scenes of different colours; in the second a bright square moves."""
    for i in range(120):
        picture = np.empty((96, 128, 3), np.uint8)
        picture[:] = ((200, 30, 30), (30, 30, 200), (30, 200, 30))[(i >= 40) + (i >= 75)]
        if 40 <= i < 75:
            picture[30:60, 2 * (i - 40) : 2 * (i - 40) + 30] = 255
        yield picture


def faces(seed: int) -> Frames:
    """Yield scikit-image's astronaut, shaken, under noise, with a red square."""
    from skimage.data import astronaut

    random = np.random.default_rng(seed)
    face = cv2.resize(astronaut(), (160, 160), interpolation=cv2.INTER_AREA)
    for _ in range(40):
        dy, dx = random.integers(0, 16, 2)
        picture = face[dy : dy + 144, dx : dx + 144].astype(int) + random.integers(-12, 13, (144, 144, 3))
        picture[100:132, 8:40] = (250, 10, 10)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def drifting(*, seed: int, step: int) -> Frames:
    """Yield a texture that moves along x."""
    ground = reference_features.texture(48, 300, seed=seed)
    for i in range(32):
        x = 120 + step * i
        yield ground[:, x : x + 64]


def recipes(corpora: Path) -> dict[str, Recipe]:
    """Return the recipe of each lake, without its `lake`."""
    windows = {"method": "windows", "seconds": 1.0}
    small = {"frames": {"size": [48, 64]}, "patches": {"size": [8, 16, 16]}, "units": {"slot_frames": 32, "slots": 2}}
    networks = corpora / "networks"
    deep = {"dtype": "float32", "device": "cpu", "batch": 4}
    return {
        "classic": {
            **small, "corpus": _only(corpora, "numbered"),
            "clips": [{**windows, "stride_seconds": 0.5}, {"method": "events", "file": str(corpora / "events.csv")}],
            "features": ["edges", "corners", "hog", {"kind": "color", "bins": 4}, "motion", "flow"],
            "reduce": [{"kind": "pca", "feature": "flow", "components": 4}, {"kind": "pca", "feature": "hog"}],
        },
        "found": {
            **small, "corpus": _only(corpora, "cuts"),
            "clips": [
                {"method": "shots", "min_seconds": 0.2}, {"method": "shots", "detector": "adaptive"},
                {"method": "scores", "product": "flow", "channel": "speed", "pool": "max", "find": "hysteresis",
                 "high": 0.5, "low": 0.05, "min_seconds": 0.2, "label": "moving"},
                {"method": "scores", "product": "color", "channel": "green", "find": "change_points",
                 "penalty": 10.0},
            ],
            "features": ["flow", "color"],
        },
        "filtered": {
            **small, "corpus": _only(corpora, "faces"), "clips": [windows],
            "frames": {
                "size": [96, 96], "fit": "letterbox", "fps": 12.5,
                "filters": [
                    "denoise", {"kind": "stabilise", "frames": 5},
                    {"kind": "blur", "faces": "lbp", "boxes": str(corpora / "hidden.csv")},
                    {"kind": "blur", "faces": "yunet", "model": str(networks / "red.onnx"), "how": "pixels"},
                    "mine:Negative",
                ],
            },
            "features": ["edges", "audio", {"kind": "audio", "name": "fine", "every": 1, "mels": 24}],
        },
        "boxes": {
            **small, "corpus": _only(corpora, "numbered"), "tracks": {"boxes": str(corpora / "boxes.csv")},
            "clips": [windows], "features": ["color", "motion"],
            "reduce": [{"kind": "pca", "feature": "color", "components": 5}],
        },
        "regions": {
            **small, "corpus": _only(corpora, "scenes"), "tracks": {"boxes": "regions", "min_travel": 0.05},
            "frames": {"size": [112, 160], "fit": "stretch", "fps": 20}, "clips": [windows],
            "features": [
                "regions", {"kind": "regions", "name": "by_motion", "join": "motion"},
                {"kind": "regions", "name": "by_edges", "join": "features", "feature": "edges"}, "edges",
            ],
        },
        "deep": {
            **small, "corpus": _only(corpora, "numbered"), "clips": [windows],
            "frames": {"size": [48, 64], "fps": 10, "keep": False},
            "features": [
                {"kind": "hf", "path": str(networks / "vit"), "name": "vit", **deep},
                {"kind": "hf", "path": str(networks / "dinov2"), "name": "crops", "crops": "patches", **deep},
                {"kind": "hf", "path": str(networks / "maps.pt2"), "name": "maps", **deep},
                {"kind": "hf_clip", "path": str(networks / "videomae"), "name": "videomae", "every": 4, **deep},
                {"kind": "hf_clip", "path": str(networks / "trained"), "name": "trained", "every": 8, **deep},
                {"kind": "custom", "path": "mine:Mean", "name": "mean", "every": 2},
            ],
            "reduce": [{"kind": "pca", "feature": "vit", "components": 3}],
        },
        "training": {
            **small, "corpus": _only(corpora, "drifting"), "clips": [windows], "features": ["flow"],
            "patches": {"size": [8, 16, 16], "chunk": "patch"},
            "reduce": [{"kind": "pca", "feature": "flow", "components": 4}],
            "train": {"task": "classify", "model": "st_cnn", "epochs": 2, "window_frames": 8, "batch_size": 8},
        },
    }  # fmt: skip


def _only(corpora: Path, name: str) -> dict[str, str]:
    return {"videos": str(corpora / name), "labels": "folder"}
