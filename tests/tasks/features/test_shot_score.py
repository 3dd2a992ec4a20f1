"""Stored scores are PySceneDetect's own, and shots cut from them are its shots."""

from __future__ import annotations

from typing import Any

import av
import cv2
import numbered_clips as clips
import numpy as np
import pytest
import scenedetect
from scenedetect import FrameTimecode, SceneManager, StatsManager

from patchlake.tasks import features
from patchlake.tasks.clips import segment
from patchlake.tasks.clips.shots import Shots
from patchlake.tasks.features.extractor import Extractor
from patchlake.tasks.features.shot_score import ShotScoreSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FloatArray, FrameArray

FPS = 25.0
SIZE = (72, 96)


def extractor_of(frames: FrameArray) -> Extractor:
    spec = ShotScoreSpec(kind="shot_score")
    return features.build(spec, patches=Grid((8, 16, 16), (8, 16, 16)), frame_size=(frames.shape[1], frames.shape[2]))


def scores_of(frames: FrameArray) -> dict[str, FloatArray]:
    """Return (n,) values by channel of a span's frames: the first frame is its own context."""
    extractor = extractor_of(frames)
    rows = extractor(np.concatenate([frames[:1], frames]))[:, 0, 0]
    return {name: rows[:, i].astype(np.float64) for i, name in enumerate(extractor.channels)}


class InMemory(scenedetect.VideoStream):  # type: ignore[misc]
    """Frames as a video of PySceneDetect's."""

    BACKEND_NAME = "memory"

    def __init__(self, frames: FrameArray) -> None:
        self._frames, self._next = frames, 0

    path = name = property(lambda self: "memory")
    is_seekable = property(lambda self: False)
    frame_rate = property(lambda self: FPS)
    duration = property(lambda self: FrameTimecode(len(self._frames), fps=FPS))
    frame_size = property(lambda self: (self._frames.shape[2], self._frames.shape[1]))
    aspect_ratio = property(lambda self: 1.0)
    frame_number = property(lambda self: self._next)
    position = property(lambda self: FrameTimecode(max(0, self._next - 1), fps=FPS))
    position_ms = property(lambda self: self.position.seconds * 1000)

    def read(self, decode: bool = True) -> Any:
        if self._next == len(self._frames):
            return False
        self._next += 1
        return cv2.cvtColor(self._frames[self._next - 1], cv2.COLOR_RGB2BGR)

    def reset(self) -> None:
        self._next = 0

    def seek(self, target: Any) -> None:
        raise NotImplementedError


def library(frames: FrameArray, *detectors: Any) -> tuple[list[int], StatsManager]:
    """Return first frames of new scenes and the statistics of PySceneDetect's own run."""
    manager = SceneManager(StatsManager())
    manager.auto_downscale = False
    for detector in detectors:
        manager.add_detector(detector)
    manager.detect_scenes(InMemory(frames))
    scenes = manager.get_scene_list(start_in_scene=True)
    return [start.frame_num for start, _ in scenes[1:]], manager.stats_manager


def film() -> FrameArray:
    """Return frames that move, cut, flash, dissolve and fade to black and back."""
    rng = np.random.default_rng(3)
    scenes = [
        cv2.resize(rng.integers(0, 255, (3, 4, 3), dtype=np.uint8), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        for _ in range(6)
    ]
    moving = [np.stack([np.roll(scene, i, axis=1) for i in range(30)]) for scene in scenes]
    moving[1][10] = 255
    share = np.linspace(0, 1, 30)[:, None, None, None]
    dissolve = np.rint(moving[2] * (1 - share) + moving[3] * share).astype(np.uint8)
    dark = np.abs(np.linspace(-1, 1, 30))[:, None, None, None]
    fade = (np.concatenate([moving[4][:15], moving[5][15:]]) * dark).astype(np.uint8)
    return np.concatenate([moving[0], moving[1], moving[2], dissolve, moving[3], moving[4], fade, moving[5]])


def real(name: str) -> FrameArray:
    with av.open(str(clips.shared_videos() / "clips" / name)) as container:
        return np.stack([f.reformat(SIZE[1], SIZE[0], "rgb24").to_ndarray() for f in container.decode(video=0)])


@pytest.fixture(
    scope="module",
    params=[
        "film",
        "rendered",
        *(pytest.param(n, marks=pytest.mark.shared_videos) for n in ("bikes_cuts", "nasa_13013")),
    ],
)
def frames(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FrameArray:
    if request.param == "film":
        return film()
    if request.param == "rendered":
        path = clips.render(tmp_path_factory.mktemp("clip") / "a.mp4", num_frames=40)
        with av.open(str(path)) as container:
            return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    return real(f"{request.param}.mp4")


def test_scores_are_those_of_the_librarys_own_run(frames: FrameArray) -> None:
    found = scores_of(frames)
    names = {
        "content_val": "content_val",
        "delta_hue": "delta_hue",
        "delta_sat": "delta_sat",
        "delta_lum": "delta_lum",
        "hist_diff": "hist_diff [bins=128]",
        "hash_dist": "hash_dist [size=8 lowpass=2]",
        "average_rgb": "average_rgb",
    }
    detectors = (
        scenedetect.ContentDetector(),
        scenedetect.HistogramDetector(),
        scenedetect.HashDetector(),
        scenedetect.ThresholdDetector(),
    )
    _, stats = library(frames, *detectors)
    assert set(found) == set(names)
    for ours, theirs in names.items():
        expected = [stats.get_metrics(i, [theirs])[0] for i in range(1, len(frames))]
        np.testing.assert_array_equal(found[ours][1:], np.array(expected, dtype=np.float32), err_msg=ours)
    first = {name: values[0] for name, values in found.items()}
    assert first.pop("average_rgb") == np.float32(frames[0].mean())
    assert first == {"content_val": 0, "delta_hue": 0, "delta_sat": 0, "delta_lum": 0, "hist_diff": 1, "hash_dist": 0}


DETECTORS = {
    "adaptive": scenedetect.AdaptiveDetector,
    "content": scenedetect.ContentDetector,
    "histogram": scenedetect.HistogramDetector,
    "hash": scenedetect.HashDetector,
    "fade": scenedetect.ThresholdDetector,
}


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("min_frames", [0, 15])
def test_shots_are_the_librarys_scenes(frames: FrameArray, detector: Any, min_frames: int) -> None:
    expected, _ = library(frames, DETECTORS[detector](min_scene_len=min_frames))
    method = Shots(method="shots", detector=detector, min_seconds=min_frames / FPS)
    found = segment.shots(method, np.arange(len(frames)) / FPS, scores_of(frames), stop_seconds=len(frames) / FPS)
    assert [round(start * FPS) for start, _ in found[1:]] == expected


def test_the_film_has_what_each_detector_looks_for() -> None:
    counts = {name: len(library(film(), kind(min_scene_len=15))[0]) for name, kind in DETECTORS.items()}
    assert all(counts.values()), counts


def test_rows_are_the_same_bytes_however_frames_are_split() -> None:
    frames = film()[20:70]
    extractor = extractor_of(frames)
    whole = extractor(frames)
    assert whole.shape == (49, 1, 1, 7)
    assert whole.dtype == np.float32
    for cut in range(1, 49):
        first, second = extractor(frames[: 1 + cut]), extractor_of(frames)(frames[cut:])
        assert np.concatenate([first, second]).tobytes() == whole.tobytes()


def test_its_grid_is_one_cell_a_frame() -> None:
    extractor = extractor_of(film())
    assert isinstance(extractor, Extractor)
    assert extractor.centres == ((36.0,), (48.0,))
    assert (extractor.time_size, extractor.time_stride, extractor.context_frames) == (1, 1, (1, 0))
    assert extractor(film()[:1]).shape == (0, 1, 1, 7)
    assert len(extractor.attrs["units"]) == len(extractor.channels)
    spec = features.FEATURES.entry("shot_score")
    assert spec == ShotScoreSpec(kind="shot_score")
    assert spec.name == "shot_score"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 300), (16, 16)])
@pytest.mark.parametrize("value", [0, 255])
def test_small_and_flat_frames_have_scores(size: tuple[int, int], value: int) -> None:
    frames = np.full((4, *size, 3), value, dtype=np.uint8)
    rows = extractor_of(frames)(frames)
    np.testing.assert_array_equal(rows[:, 0, 0], np.tile(np.float32([0, 0, 0, 0, 1, 0, value]), (3, 1)))


@pytest.mark.shared_videos
@pytest.mark.parametrize(("name", "cuts"), [("bikes_cuts", [30, 76, 137, 187, 242]), ("nasa_13013", [202])])
@pytest.mark.parametrize("detector", ["adaptive", "content", "histogram"])
def test_known_cuts_of_real_clips_are_found_exactly(name: str, cuts: list[int], detector: Any) -> None:
    frames = real(f"{name}.mp4")
    method = Shots(method="shots", detector=detector)
    seconds = np.arange(len(frames)) / FPS
    found = segment.shots(method, seconds, scores_of(frames), stop_seconds=len(frames) / FPS)
    starts = [round(start * FPS) for start, _ in found[1:]]
    in_dissolve = [start for start in starts if name == "nasa_13013" and 124 <= start <= 154]
    assert [start for start in starts if start not in in_dissolve] == cuts
