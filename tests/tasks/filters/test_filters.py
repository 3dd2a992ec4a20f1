"""Filters by themselves: what they bring on real and synthetic pictures, and what does not matter to them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numbered_clips as clips
import numpy as np
import onnx_detector as onnx_by_hand
import pytest
from reference_features import texture
from strategies import a_source

from patchlake.tasks import filters
from patchlake.tasks.filters import Scene
from patchlake.tasks.filters.blur import joined
from patchlake.tasks.filters.stabilise import STILL, motion_between
from patchlake.tasks.types import FrameArray, FrameGrid
from patchlake.tasks.unit import worker_setup


@pytest.fixture(autouse=True)
def _as_workers_do() -> None:
    worker_setup.setup()


def filtered(entry: dict[str, Any], frames: FrameArray) -> FrameArray:
    """Return frames filtered at once, end frames repeated."""
    size = frames.shape[1:3]
    [one] = filters.build_all([parsed(entry)], size)
    before, after = one.context_frames
    around = np.concatenate([frames[:1].repeat(before, axis=0), frames, frames[-1:].repeat(after, axis=0)])
    grid = FrameGrid(size=size, fit="crop", fps=None)
    return one(around, Scene(source=a_source(), boxes=None, grid=grid, seconds=np.zeros(len(around))))


def parsed(entry: dict[str, Any]) -> Any:
    return filters.FILTERS.entry(entry)


def psnr(frames: FrameArray, clean: FrameArray) -> float:
    return float(10 * np.log10(255**2 / np.mean((frames.astype(float) - clean) ** 2)))


def real(name: str, count: int, side: int) -> FrameArray:
    import av

    found: list[Any] = []
    with av.open(str(clips.shared_videos() / "clips" / name)) as container:
        for frame in container.decode(video=0):
            found.append(cv2.resize(frame.to_ndarray(format="rgb24"), (side, side), interpolation=cv2.INTER_AREA))
            if len(found) == count:
                break
    return np.stack(found)


def noisy(clean: FrameArray, sigma: float) -> FrameArray:
    noise = np.random.default_rng(1).normal(0, sigma, clean.shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def moving(count: int, side: int) -> FrameArray:
    """Return a smooth texture over which a square goes."""
    ground = cv2.GaussianBlur(texture(side, side, seed=3), (0, 0), 3)
    frames = np.stack([ground] * count)
    for i, frame in enumerate(frames):
        frame[20:50, 2 * i : 2 * i + 30] = (250, 40, 90)
    return frames


def test_denoise_brings_noisy_frames_nearer_to_the_clean_ones() -> None:
    clean = moving(12, 96)
    for sigma in (5, 10, 20):
        worse = noisy(clean, sigma)
        better = filtered({"kind": "denoise", "strength": sigma}, worse)
        assert psnr(better, clean) > psnr(worse, clean) + 4
        box = filtered({"kind": "denoise", "strength": sigma, "frames": 0}, worse)
        assert psnr(better, clean) > psnr(box, clean) + 0.5, "neighbouring frames help"


@pytest.mark.shared_videos
@pytest.mark.parametrize("name", ["carphone_pristine.mp4", "nasa_13013.mp4", "yoga.mp4"])
def test_denoise_on_real_clips(name: str) -> None:
    clean = real(name, 16, 224)
    worse = noisy(clean, 10)
    assert psnr(filtered({"kind": "denoise"}, worse), clean) > psnr(worse, clean) + 4


def shaken(wide: FrameArray, room: int, seed: int = 0) -> tuple[FrameArray, np.ndarray]:
    """Return the middle of frames as a shaken camera sees it, and where it looked: turn in degrees, x, y."""
    rng = np.random.default_rng(seed)
    poses = np.column_stack([rng.normal(0, 0.5, len(wide)), rng.normal(0, 3, (len(wide), 2))])
    side, found = wide.shape[1], []
    for frame, (turn, x, y) in zip(wide, poses, strict=True):
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn, 1)
        matrix[:, 2] += x, y
        found.append(cv2.warpAffine(frame, matrix, (side, side), flags=cv2.INTER_CUBIC))
    return np.stack(found)[:, room:-room, room:-room].copy(), poses


def jitter(frames: FrameArray) -> float:
    """Return the median change of the shift between neighbours, by phase correlation: no corners, no flow."""
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(np.float32) for f in frames]
    window = cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_32F)
    shifts = np.array([cv2.phaseCorrelate(a, b, window)[0] for a, b in pairwise(grey)])
    return float(np.median(np.hypot(*np.diff(shifts, axis=0).T)))


def test_the_motion_between_frames_is_the_one_put_in() -> None:
    frames, poses = shaken(np.stack([texture(220, 220, seed=5)] * 8), 38)
    for (one, pose), (other, next_pose) in pairwise(zip(frames, poses, strict=True)):
        found = motion_between(one, other)
        (turn, x, y), (next_turn, next_x, next_y) = pose, next_pose
        angle = np.deg2rad(turn - next_turn)  # OpenCV turns counter-clockwise, y grows downwards
        expected = complex(next_x, next_y) - np.exp(1j * angle) * complex(x, y)
        assert abs(found.turn - np.exp(1j * angle)) < 2e-3
        assert abs(found.shift - expected) < 0.25
        assert abs(found.then(found.back()).shift) < 1e-9


def test_stabilise_takes_shake_away_and_leaves_a_smooth_pan() -> None:
    ground = texture(220, 320, seed=7)
    wide = np.stack([ground[:, i : i + 220] for i in range(40)])
    frames, _ = shaken(wide, 38)
    still = filtered({"kind": "stabilise", "frames": 12}, frames)
    assert jitter(frames) > 4
    assert jitter(still) < jitter(frames) / 5
    pan = wide[:, 38:-38, 38:-38].copy()
    inner = (slice(14, -14), slice(14, -14), slice(14, -14))
    assert psnr(filtered({"kind": "stabilise", "frames": 12}, pan)[inner], pan[inner]) > 35, "a pan is left as it is"


@pytest.mark.shared_videos
@pytest.mark.parametrize("name", ["bottles_table.mp4", "nasa_13013.mp4", "robot_arm.mp4"])
def test_stabilise_on_real_clips(name: str) -> None:
    frames, _ = shaken(real(name, 40, 300), 38)
    assert jitter(filtered({"kind": "stabilise"}, frames)) < jitter(frames) / 3


def test_a_camera_that_can_not_be_followed_is_taken_to_stand_still() -> None:
    one, other = texture(64, 64, seed=1), texture(64, 64, seed=2)
    for a, b in ((one, other), (one * 0, one), (one, one * 0), (one * 0, one * 0), (one, one)):
        found = motion_between(a, b)
        assert abs(found.turn - 1) < 1e-4
        assert abs(found.shift) < 1e-3
    assert motion_between(one, other) == STILL
    cut = np.stack([one] * 6 + [other] * 6)
    assert np.array_equal(filtered({"kind": "stabilise", "frames": 4}, cut), cut), "a cut is no motion"
    assert [m.shape for m in (filtered({"kind": "stabilise"}, cut[:1, :4, :4]),)] == [(1, 4, 4, 3)], "tiny frames"


@pytest.fixture(scope="module")
def astronaut() -> FrameArray:
    from skimage.data import astronaut

    picture: Any = cv2.resize(astronaut(), (224, 224), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, dtype=np.uint8)


FACE = (slice(35, 65), slice(80, 112))
"""Rows and columns of the face in scikit-image's astronaut at 224 pixels, by eye."""


def test_a_face_is_covered_and_stays_so_where_it_is_missed(astronaut: FrameArray) -> None:
    """The face is there in frames 2 to 9, upside down (which the cascade does not find) in 5 and 6."""
    ground = np.full_like(astronaut, 90)
    upside = astronaut[::-1, ::-1]
    frames = np.stack([ground] * 2 + [astronaut] * 3 + [upside] * 2 + [astronaut] * 3 + [ground] * 4)
    covered = filtered({"kind": "blur", "faces": "lbp", "hold": 2}, frames)
    detail = lambda f: float(cv2.Laplacian(f[FACE], cv2.CV_32F).var())  # noqa: E731
    for i in (2, 3, 4, 7, 8, 9):
        assert detail(covered[i]) < detail(frames[i]) / 4
    for i in (5, 6):
        assert not np.array_equal(covered[i][FACE], frames[i][FACE]), "held"
    far = (slice(150, None), slice(None))
    assert np.array_equal(covered[2:5][:, *far], frames[2:5][:, *far]), "the rest is left"
    assert np.array_equal(covered[:2], frames[:2])
    assert np.array_equal(covered[12:], frames[12:])


def test_yunet_finds_what_its_model_says(tmp_path: Path) -> None:
    """The model's faces are red: 32 pixels around the first of the cells of 8 pixels that are red."""
    model = onnx_by_hand.write_detector(tmp_path / "red.onnx", (64, 96))
    frames = np.random.default_rng(0).integers(0, 50, (3, 64, 96, 3), np.uint8)
    frames[0, 16:32, 40:56] = 0, 0, 255
    frames[1, 16:32, 40:56] = 255, 0, 0
    entry = {"kind": "blur", "faces": "yunet", "model": str(model), "hold": 0, "margin": 0, "how": "pixels"}
    covered = filtered(entry, frames)
    assert np.array_equal(covered[[0, 2]], frames[[0, 2]]), "blue is no face"
    changed = np.argwhere((covered[1] != frames[1]).any(axis=-1))
    assert changed.min(axis=0).tolist() == [4, 28]
    assert changed.max(axis=0).tolist() == [35, 59]
    assert np.array_equal(filtered({**entry, "least": 40}, frames), frames), "too small"
    [one], other = filters.build_all([parsed(entry)], (64, 96)), tmp_path / "other.onnx"
    other.write_bytes(model.read_bytes() + b"\x12\x01x")
    [two] = filters.build_all([parsed({**entry, "model": str(other)})], (64, 96))
    assert one.digest_parts["model"] != two.digest_parts["model"]
    assert str(model) not in str(one.digest_parts), "its content is in the key, not where it lies"


def test_results_do_not_depend_on_how_calls_are_cut(astronaut: FrameArray) -> None:
    frames = np.stack([np.roll(astronaut, (i % 3, 2 * i), axis=(0, 1)) for i in range(8)])
    grid = FrameGrid(size=(224, 224), fit="crop", fps=None)
    for entry in (
        {"kind": "denoise"}, {"kind": "stabilise", "frames": 2}, {"kind": "blur", "faces": "lbp", "hold": 1},
    ):  # fmt: skip
        whole = filtered(entry, frames)
        [one] = filters.build_all([parsed(entry)], (224, 224))
        reach, _ = one.context_frames
        for i in range(reach, len(frames) - reach):
            window = frames[i - reach : i + reach + 1]
            scene = Scene(source=a_source(), boxes=None, grid=grid, seconds=np.zeros(len(window)))
            assert np.array_equal(one(window, scene)[0], whole[i]), entry["kind"]


def test_regions_that_overlap_become_one() -> None:
    regions = [(0, 0, 10, 10), (5, 5, 15, 15), (14, 14, 20, 20), (30, 0, 40, 10), (40, 0, 50, 10)]
    assert joined(regions) == [(0, 0, 20, 20), (30, 0, 40, 10), (40, 0, 50, 10)]
    assert joined(reversed(regions)) == joined(regions)
    assert joined([]) == []
