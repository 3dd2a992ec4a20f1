"""The default corpus: rendered clips of eight motions, four kinds times two directions of time. No download.

A textured object moves over a textured background, seen by a shaking camera with a noisy sensor, with bars
passing in front. Its state (x, y, rotation, log of size) lies on a torus, each start uniform; a motion is
constant speed along one axis. So the frame at any given time has the same distribution for every class, and
the clip of one direction is that of the other played backwards: no single frame, no bag of frames and no
amount of motion separates the two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import PatchlakeError

VERSION = 1
"""Increased whenever the same parameters render different frames than before."""

PAIRS = (("left", "right"), ("up", "down"), ("counter_clockwise", "clockwise"), ("recede", "approach"))
"""Classes; the second of a pair moves along its axis (x, y, rotation, log of size), the first is its reversal."""

CLASSES = tuple(name for pair in PAIRS for name in pair)

_X264 = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"}
"""With macroblock-tree rate control, libx264 may give different bytes for equal frames (even on 1 thread)."""

_TEXTURE = 128
_RADIUS = 0.28
"""Mean radius of the object at size 1, in frame heights."""
_SIZES = (0.7, 1.4)

Image = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusSpec:
    """What to render; equal specs give videos that decode to equal frames (with one build of libx264)."""

    seed: int = 0
    num_scenes: int = 96
    """Each scene gives one clip per class; a scene is one group, so a split never divides it."""
    num_frames: int = 32
    fps: int = 16
    size: tuple[int, int] = (128, 128)
    """height, width; even."""


def render_corpus(
    folder: Path,
    *,
    seed: int = 0,
    processes: int | None = None,
    num_scenes: int = 96,
    num_frames: int = 32,
    fps: int = 16,
    size: tuple[int, int] = (128, 128),
) -> list[Path]:
    """Render the missing videos of the corpus into a folder and return all its videos, in the manifest's order.

    Writes LABEL/SCENE.mp4, `manifest.csv` (uri relative to it, label, group = scene) and `corpus.json`, the
    stamp by which a later call recognises its own files. `processes` defaults to the available CPUs; they are
    spawned, so a script that calls this needs the usual main guard. Raises PatchlakeError if the folder
    holds another corpus.
    """
    spec = CorpusSpec(seed=seed, num_scenes=num_scenes, num_frames=num_frames, fps=fps, size=size)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, spec)
    scenes = range(num_scenes)
    missing = [i for i in scenes if not all(_video(folder, label, i).exists() for label in CLASSES)]
    processes = min(processes or len(os.sched_getaffinity(0)), max(1, len(missing)))
    if processes == 1:
        for i in missing:
            render_scene(folder, spec, i)
    elif missing:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(partial(render_scene, folder, spec), missing):
                pass
    rows = [(f"{label}/{scene_name(i)}.mp4", label, scene_name(i)) for i in scenes for label in CLASSES]
    _write_manifest(folder / "manifest.csv", rows)
    return [folder / uri for uri, _, _ in rows]


def scene_name(scene: int) -> str:
    """Return the name of a scene: the stem of its files and the group of its clips."""
    return f"scene_{scene:04d}"


def render_scene(folder: Path, spec: CorpusSpec, scene: int) -> None:
    """Write a scene's clips, one per class; each file appears complete or not at all."""
    cv2.setNumThreads(1)
    for label, frames in scene_clips(spec, scene):
        _write_video(_video(folder, label, scene), frames, spec.fps)


def scene_clips(spec: CorpusSpec, scene: int) -> Iterator[tuple[str, Frames]]:
    """Yield the class and the frames of each clip of a scene: one class of a pair is the other's exact reversal."""
    for kind, (backward, forward) in enumerate(PAIRS):
        frames = render_frames(spec, scene, kind)
        yield forward, frames
        yield backward, frames[::-1]


def render_frames(spec: CorpusSpec, scene: int, kind: int) -> Frames:
    """Return the frames (time, y, x, channel), RGB, of the forward class of `PAIRS[kind]`, before encoding.

    Texture, camera path, bars, start and speed depend on the scene; only the axis of motion and the sensor
    noise depend on the kind.
    """
    rng = np.random.default_rng([VERSION, spec.seed, scene])
    height, width = spec.size
    times = np.arange(spec.num_frames)
    background = _noise_texture(rng, height + 32, width + 32, contrast=25)
    item = _object(rng)
    camera_TX = _camera_path(rng, spec.num_frames)
    bars = _Bars(
        angle_radians=rng.uniform(0, np.pi),
        offsets=rng.uniform(0, height) + rng.uniform(-0.6, 0.6) * times,
        period=rng.uniform(0.5, 0.8) * height,
        half_width=rng.uniform(0.02, 0.04) * height,
        colour=rng.uniform(10, 245, 3).astype(np.float32),
    )
    start = rng.uniform(0, 1, 4)
    speed = rng.uniform(1.2, 2.4) * height / 128  # frame pixels of the object's typical point, per frame
    noise_sigma = rng.uniform(2, 5)
    turns_per_radian, sizes = 1 / (2 * np.pi), float(np.log(_SIZES[1] / _SIZES[0]))
    per_radius = speed / (_RADIUS * height)  # rotation or growth that moves a disc's edge at that speed
    steps = (speed / width, speed / height, per_radius * turns_per_radian, 0.6 * per_radius / sizes)
    state_T4 = np.tile(start, (spec.num_frames, 1))
    state_T4[:, kind] = (start[kind] + steps[kind] * times) % 1

    noise = np.random.default_rng([VERSION, spec.seed, scene, kind])
    frames = np.empty((spec.num_frames, height, width, 3), np.uint8)
    for t in range(spec.num_frames):
        shift = np.array([[1, 0, camera_TX[t, 0] - 16], [0, 1, camera_TX[t, 1] - 16]])
        image: Any = cv2.warpAffine(background, shift, (width, height), flags=cv2.INTER_LINEAR)
        for matrix in _placements(state_T4[t], camera_TX[t], height, width):
            rgba = cv2.warpAffine(item, matrix, (width, height), flags=cv2.INTER_LINEAR)
            image = image * (1 - rgba[..., 3:]) + rgba[..., :3]
        image = bars.over(image, t)
        image += noise_sigma * noise.standard_normal(image.shape, np.float32)
        frames[t] = np.clip(image, 0, 255)
    return frames


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bars:
    """Parallel bars of one colour that drift across the view in front of everything."""

    angle_radians: float
    offsets: npt.NDArray[np.floating[Any]]
    period: float
    half_width: float
    colour: Image

    def over(self, image: Image, t: int) -> Image:
        y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
        across = x * np.cos(self.angle_radians) + y * np.sin(self.angle_radians) - self.offsets[t]
        distance = np.abs((across + self.period / 2) % self.period - self.period / 2)
        alpha = np.clip(self.half_width - distance + 0.5, 0, 1).astype(np.float32)[..., None]
        blended: Image = image * (1 - alpha) + alpha * self.colour
        return blended


def _noise_texture(rng: np.random.Generator, height: int, width: int, *, contrast: float) -> Image:
    """Return (height, width, 3) float32: octaves of noise, of random mean colour and contrast."""
    total = np.zeros((height, width, 3), np.float32)
    roughness = rng.uniform(0.5, 0.75)
    for octave, cells in enumerate((4, 8, 16, 32, 64)):
        grid = rng.standard_normal((cells, cells, 1)) + 0.5 * rng.standard_normal((cells, cells, 3))
        smooth = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        total += roughness**octave * smooth
    total *= contrast * rng.uniform(0.8, 1.2) / total.std()
    total += rng.uniform(80, 175, 3).astype(np.float32) - total.mean()
    return total


def _object(rng: np.random.Generator) -> Image:
    """Return (_TEXTURE, _TEXTURE, 4): a blob, colour premultiplied by opacity, radius 1/3 of the side."""
    colour = np.clip(_noise_texture(rng, _TEXTURE, _TEXTURE, contrast=60), 0, 255)
    y, x = (np.mgrid[:_TEXTURE, :_TEXTURE] - (_TEXTURE - 1) / 2) / (_TEXTURE / 3)
    bumps = rng.uniform(-0.15, 0.15, (2, 4))
    angle = np.arctan2(y, x)
    edge = 1 + sum(a * np.cos((k + 2) * angle) + b * np.sin((k + 2) * angle) for k, (a, b) in enumerate(bumps.T))
    alpha = np.clip((edge - np.hypot(y, x)) * _TEXTURE / 6 + 0.5, 0, 1)[..., None]
    return np.concatenate([colour * alpha, alpha], axis=2).astype(np.float32)


def _camera_path(rng: np.random.Generator, num_frames: int) -> npt.NDArray[np.float64]:
    """Return (num_frames, 2): x, y of a hand-held camera in pixels, smooth and stationary, within +-14."""
    phases, weights = rng.uniform(0, 2 * np.pi, (2, 6)), rng.normal(0, 1, (2, 6))
    periods_frames = rng.uniform(8, 40, (2, 6))
    waves = np.sin(2 * np.pi * np.arange(num_frames)[:, None, None] / periods_frames + phases) * weights
    path: npt.NDArray[np.float64] = np.clip(rng.uniform(0.3, 0.8) * waves.sum(2), -14, 14)
    return path


def _placements(
    state: npt.NDArray[np.float64], camera: npt.NDArray[np.float64], height: int, width: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the 2x3 matrices that draw the object: once, and again on the opposite side where it crosses an edge."""
    size = _SIZES[0] * (_SIZES[1] / _SIZES[0]) ** state[3]
    scale = size * _RADIUS * height / (_TEXTURE / 3)
    turn = np.exp(2j * np.pi * state[2]) * scale
    reach = 1.6 * size * _RADIUS * height
    x, y = (state[0] * width + camera[0]) % width, (state[1] * height + camera[1]) % height
    middle = turn * complex(1, 1) * (_TEXTURE - 1) / 2
    for cy in (y - height, y, y + height):
        for cx in (x - width, x, x + width):
            if -reach < cx < width + reach and -reach < cy < height + reach:
                yield np.array([[turn.real, -turn.imag, cx - middle.real], [turn.imag, turn.real, cy - middle.imag]])


def _video(folder: Path, label: str, scene: int) -> Path:
    return folder / label / f"{scene_name(scene)}.mp4"


def _write_video(path: Path, frames: Frames, fps: int) -> None:
    """Encode frames as H.264, one thread (for equal bytes), under a temporary name that is then renamed."""
    import av  # the parent process of a rendering pool never needs it

    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    with av.open(part, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=_X264)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            planes: Any = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
    os.replace(part, path)


def _claim(folder: Path, spec: CorpusSpec) -> None:
    """Write the spec as the folder's stamp, before any video; refuse a folder that has another stamp."""
    stamp, wanted = folder / "corpus.json", json.loads(json.dumps({"version": VERSION, **asdict(spec)}))
    if not stamp.exists():
        _replace(stamp, json.dumps(wanted, indent=1))
        return
    found: Any = json.loads(stamp.read_text())
    if found != wanted:
        raise PatchlakeError(
            f"{folder} holds another corpus ({found}) than requested ({wanted}); delete it or choose another folder"
        )


def _write_manifest(path: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = ["uri,label,group", *(",".join(row) for row in rows), ""]
    _replace(path, "\n".join(lines))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
