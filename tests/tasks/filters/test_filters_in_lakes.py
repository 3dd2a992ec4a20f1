"""What a lake holds is its frames filtered, at all borders: against loops over the same lake without filters.

Spans longer than a slot, short ones in one slot, tracks of one decode, native and numeric rates, missing frames.
"""

from __future__ import annotations

import base64
import io
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numbered_clips as clips
import numpy as np
import pytest
import reference_features as loops
from in_process import Ingested, ingest
from PIL import Image

from patchlake.tasks import canvas, filters
from patchlake.tasks import recipe as recipes
from patchlake.tasks.canvas import Picture
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake.digest import digest
from patchlake.tasks.plan.products import frames_key
from patchlake.tasks.report.filtered import filter_pictures
from patchlake.tasks.report.sample import pick_clips
from patchlake.tasks.types import FrameArray

SIZE = (48, 64)
CHAIN: list[Any] = [{"kind": "denoise", "frames": 1}, {"kind": "stabilise", "frames": 4}]


def render(path: Path, *, num_frames: int, seed: int) -> None:
    """Write a noisy clip of a texture that a shaken camera sees."""
    rng = np.random.default_rng(seed)
    ground = loops.texture(140, 180, seed=seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25), options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv444p"
        for i in range(num_frames):
            y, x = (int(v) for v in (rng.integers(0, 6) + i // 8, rng.integers(0, 6) + i // 5))
            seen = ground[y : y + 96, x : x + 128] + rng.normal(0, 8, (96, 128, 1))
            frame = av.VideoFrame.from_ndarray(np.clip(seen, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "videos").mkdir()
    for i, (name, num_frames) in enumerate((("long", 90), ("a", 13), ("b", 3))):
        render(folder / "videos" / f"{name}.mkv", num_frames=num_frames, seed=10 * i)
    (folder / "tracks.csv").write_text(
        "uri,track,seconds,x,y,width,height\nvideos/long.mkv,still,,0,0,64,48\n"
        "videos/long.mkv,moving,0,0,20,64,48\nvideos/long.mkv,moving,3.56,60,44,64,48\n"
        "videos/a.mkv,a,,32,24,64,48\nvideos/b.mkv,b,,32,24,64,48\n"
    )
    (folder / "hide.csv").write_text(
        "uri,track,seconds,x,y,width,height\nvideos/long.mkv,one,0.4,10,10,30,20\nvideos/long.mkv,one,2.4,60.5,50,20,30\n"
        "videos/a.mkv,two,,20,24,40,24\n"
    )
    return folder


def brought_in(corpus: Path, name: str, chain: list[Any], **changes: Any) -> Ingested:
    recipe: dict[str, Any] = {
        "name": name, "corpus": {"videos": "videos"}, "tracks": {"boxes": "tracks.csv"},
        "clips": [{"method": "windows", "seconds": 10}], "patches": {"size": [4, 16, 16]},
    }  # fmt: skip
    frames = {"size": list(SIZE), **({"filters": chain} if chain else {}), **changes.pop("frames", {})}
    return ingest(corpus, {**recipe, "frames": frames, **changes})


def tracks_of(done: Ingested) -> dict[str, tuple[FrameArray, np.ndarray]]:
    """Return frames and seconds of each track by its name."""
    frames, seconds = done.array("pixels/frames"), done.array("pixels/seconds")
    rows = {t["name"]: done.track_rows(t["name"]) for t in done.tables.tracks.rows()}
    return {name: (frames[at], seconds[at]) for name, at in rows.items()}


def windows(frames: FrameArray, before: int, after: int) -> list[FrameArray]:
    """Return each frame with its context; past the ends, the end frame again."""
    padded = np.concatenate([frames[:1].repeat(before, axis=0), frames, frames[-1:].repeat(after, axis=0)])
    return [padded[i : i + before + 1 + after] for i in range(len(frames))]


def denoised(window: FrameArray, strength: float = 10.0) -> FrameArray:
    """Return the middle frame of a window, denoised by the formula in float64."""
    middle = len(window) // 2
    means = [cv2.blur(frame, (5, 5)).astype(np.float64) for frame in window]
    weights = [np.exp(-(((mean - means[middle]) / (0.7 * strength)) ** 2)) for mean in means]
    mean = sum(w * f for w, f in zip(weights, window, strict=True)) / sum(weights)
    return cv2.bilateralFilter(np.rint(mean).astype(np.uint8), 0, 2 * strength, 1.5)


def stabilised(window: FrameArray) -> FrameArray:
    """Return the middle frame of a window, moved to the mean of the camera's path, by 3x3 matrices."""
    height, width = window.shape[1:3]
    radius = len(window) // 2
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in window]
    centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    steps = [centre @ motion(a, b) @ np.linalg.inv(centre) for a, b in itertools.pairwise(grey)]
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / (radius / 2)) ** 2)
    angle = zoom = x = y = 0.0
    for k, weight in enumerate(weights / weights.sum()):
        path = np.eye(3)
        for step in steps[radius:k]:
            path = step @ path
        for step in reversed(steps[k:radius]):
            path = np.linalg.inv(step) @ path
        angle += weight * np.arctan2(path[1, 0], path[0, 0])
        zoom += weight * np.log(np.hypot(path[0, 0], path[1, 0]))
        x, y = x + weight * path[0, 2], y + weight * path[1, 2]
    far = max(1.0, np.hypot(x, y) / (0.1 * min(height, width)))
    a, b = np.exp(zoom) * np.cos(angle), np.exp(zoom) * np.sin(angle)
    move = np.linalg.inv(centre) @ np.array([[a, -b, x / far], [b, a, y / far], [0, 0, 1]]) @ centre
    return cv2.warpAffine(
        window[radius], move[:2], (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    corners = cv2.goodFeaturesToTrack(before, 200, 0.01, 4)
    if corners is None or len(corners) < 8:
        return np.eye(3)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None)
    kept = (found.ravel() == 1) & (again.ravel() == 1) & (np.abs(back - corners).max(axis=(1, 2)) < 0.5)
    if kept.sum() < 8:
        return np.eye(3)
    matrix, inside = cv2.estimateAffinePartial2D(corners[kept], there[kept], ransacReprojThreshold=1.0)
    if matrix is None or inside.sum() < max(8, 0.4 * kept.sum()):
        return np.eye(3)
    return np.vstack([matrix, [0, 0, 1]])


def closely(one: FrameArray, other: FrameArray) -> bool:
    """Whether frames agree but for rounding: at most one grey level, but where a cubic kernel is steep, a few."""
    difference = np.abs(one.astype(int) - other.astype(int))
    return bool(difference.max() <= 6 and (difference > 1).mean() < 0.002)


@pytest.mark.parametrize("fps", ["native", 10])
def test_stored_frames_are_filtered_as_whole_frames_are_by_hand(corpus: Path, fps: Any) -> None:
    raw = tracks_of(brought_in(corpus, f"raw-{fps}", [], frames={"fps": fps}))
    first = brought_in(corpus, f"denoised-{fps}", CHAIN[:1], frames={"fps": fps})
    second = brought_in(corpus, f"both-{fps}", CHAIN, frames={"fps": fps}, units={"slot_frames": 32, "slots": 1})
    assert len(first.plan.units) != len(second.plan.units) or fps != "native"
    less, both = tracks_of(first), tracks_of(second)
    assert set(raw) == {"still", "moving", "a", "b"}
    for name, (frames, seconds) in raw.items():
        assert np.array_equal(seconds, both[name][1]), "filters move no frame in time"
        by_hand = np.stack([denoised(window) for window in windows(frames, 1, 1)])
        assert closely(by_hand, less[name][0])
        moved = np.stack([stabilised(window) for window in windows(less[name][0], 4, 4)])
        assert closely(moved, both[name][0])
        if name != "b":
            assert not closely(less[name][0], both[name][0])


def test_units_and_products_added_later_see_the_same_frames(corpus: Path) -> None:
    """`motion` needs the frame before a slot's first one: filtered once, in the unit's decode or from the store."""
    features = ["motion", "edges"]
    one = brought_in(corpus, "one", CHAIN, features=features)
    two = brought_in(corpus, "two", CHAIN, features=features, units={"slot_frames": 32, "slots": 1})
    brought_in(corpus, "three", CHAIN)
    three = brought_in(corpus, "three", CHAIN, features=features)
    for other in (two, three):
        for name in ("pixels/frames", "motion/features", "edges/features"):
            assert np.array_equal(one.array(name), other.array(name)), name
    assert three.num_decoded == 0, "from stored pixels"
    raw = brought_in(corpus, "raw", [], features=features)
    assert raw.num_decoded - raw.num_redecoded <= one.num_decoded - one.num_redecoded
    assert not np.array_equal(raw.array("motion/features"), one.array("motion/features"))


def test_given_boxes_are_blurred_where_they_are_and_nowhere_else(corpus: Path) -> None:
    """Expected: the rows of hide.csv on each track's own grid, rounded outwards, from a Gaussian of the whole frame."""
    raw = tracks_of(brought_in(corpus, "raw", []))
    done = tracks_of(brought_in(corpus, "hidden", [{"kind": "blur", "boxes": "hide.csv", "strength": 0.2}]))
    hidden = 0
    for name, corner in (("still", lambda t: (0.0, 0.0)), ("a", lambda t: (32.0, 24.0)), ("b", lambda t: (32.0, 24.0))):
        for frame, covered, at in zip(raw[name][0], *done[name], strict=True):
            expected = frame.copy()
            if (box := hidden_at(name, float(at))) is not None:
                x, y = box[0] - corner(at)[0], box[1] - corner(at)[1]
                left, top = max(0, int(np.floor(x))), max(0, int(np.floor(y)))
                right, bottom = min(64, int(np.ceil(x + box[2]))), min(48, int(np.ceil(y + box[3])))
                if left < right and top < bottom:
                    sigma = 0.2 * max(right - left, bottom - top)
                    expected[top:bottom, left:right] = cv2.GaussianBlur(frame, (0, 0), max(1.0, sigma))[
                        top:bottom, left:right
                    ]
                    hidden += 1
            assert np.array_equal(covered, expected), (name, at)
    assert hidden > 40
    frames, covered = raw["moving"][0], done["moving"][0]
    assert np.array_equal(frames[:9], covered[:9]), "before the first time"
    assert not np.array_equal(frames[30], covered[30])


def hidden_at(name: str, at: float) -> tuple[float, float, float, float] | None:
    if name == "a":
        return (20, 24, 40, 24)
    if name == "b" or not 0.35 <= at <= 2.45:
        return None
    share = min(1.0, max(0.0, (at - 0.4) / 2.0))
    return (10 + 50.5 * share, 10 + 40 * share, 30 - 10 * share, 20 + 10 * share)


def test_a_moving_track_hides_what_lies_at_one_place(tmp_path: Path) -> None:
    """A white square on black, hidden by its given box, is grey nowhere but there, wherever the track's box is."""
    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos" / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv444p"
        picture = np.zeros((96, 128, 3), np.uint8)
        picture[40:56, 60:76] = 255
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "hide.csv").write_text("uri,x,y,width,height\na.mkv,60,40,16,16\n")
    (tmp_path / "tracks.csv").write_text(
        "uri,track,seconds,x,y,width,height\na.mkv,t,0,20,20,64,48\na.mkv,t,2,60,40,64,48\n"
    )
    done = brought_in(tmp_path, "x", [{"kind": "blur", "boxes": "hide.csv", "how": "pixels", "strength": 1.0}])
    (frames, _) = tracks_of(done)["t"]
    assert all(np.array_equal(np.unique(frame), [0, 255]) for frame in frames), "one pixel of white, or of part of it"
    done = brought_in(tmp_path, "y", [{"kind": "blur", "boxes": "hide.csv", "strength": 1.0}])
    (blurred, _) = tracks_of(done)["t"]
    for frame, covered in zip(frames, blurred, strict=True):
        square = frame[..., 0] == 255
        assert 16 * 16 <= square.sum() <= 18 * 18
        assert covered[square].max() < 150, "the square is not to be seen"
        assert covered[~square].max() == 0


def test_missing_frames_break_the_stream_the_same_in_every_unit(tmp_path: Path) -> None:
    """Twelve frames in the middle do not decode: what is stored of the others does not depend on the units."""
    (tmp_path / "videos").mkdir()
    file = tmp_path / "videos" / "a.mkv"
    clips.render(file, num_frames=96, gop=8, size=(48, 64))
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pts is not None]
    for at, size in packets[40:48]:
        data[at + 12 : at + size] = bytes(size - 12)
    file.write_bytes(bytes(data))
    recipe: dict[str, Any] = {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}}
    recipe["frames"] = {"size": list(SIZE), "filters": CHAIN}
    found = [
        ingest(tmp_path, {**recipe, "name": f"s{slots}", "units": {"slot_frames": 16, "slots": slots}})
        for slots in (1, 6)
    ]
    assert len(found[0].plan.units) > len(found[1].plan.units)
    assert np.array_equal(found[0].array("pixels/frames"), found[1].array("pixels/frames"))
    assert 0 < (found[0].array("pixels/track") >= 0).sum() < 96
    assert digest(found[0].lake) == digest(found[1].lake)


def test_filters_are_in_the_keys_and_an_empty_list_is_not(corpus: Path) -> None:
    def key(chain: list[Any] | None) -> dict[str, Any]:
        frames = {"size": list(SIZE)} if chain is None else {"size": list(SIZE), "filters": chain}
        data = {"name": "x", "lake": "lake", "corpus": {"videos": "videos"}, "frames": frames}
        return frames_key(recipes.parse(data, base=corpus))

    assert key(None) == key([]) == {"size": list(SIZE), "fit": "crop", "fps": "native"}
    chains: list[list[Any]] = [
        [], ["denoise"], ["stabilise"], ["denoise", "stabilise"], ["stabilise", "denoise"],
        [{"kind": "denoise", "strength": 11}], [{"kind": "stabilise", "frames": 5}],
        [{"kind": "blur", "boxes": "hide.csv"}], [{"kind": "blur", "boxes": "hide.csv", "how": "pixels"}],
        [{"kind": "blur", "boxes": "tracks.csv"}], [{"kind": "blur", "faces": "lbp"}],
        [{"kind": "blur", "faces": "lbp", "hold": 6}],
    ]  # fmt: skip
    keys = [key(chain) for chain in chains]
    assert all(a != b for i, a in enumerate(keys) for b in keys[:i])
    assert key(["denoise"]) == key([{"kind": "denoise"}]) == key([{"kind": "denoise", "strength": 10}])


CUSTOM = """
class Dim:
    version = 3
    context_frames = (1, 0)
    def __init__(self, frame_size, by=2):
        self.by, self.digest_parts = by, {}
    def __call__(self, frames, scene):
        assert len(scene.seconds) == len(frames)
        return (frames[:-1] // self.by + frames[1:] // self.by).astype("uint8")
"""


def test_a_users_own_filter(corpus: Path, tmp_path: Path) -> None:
    (corpus / "my_filters.py").write_text(CUSTOM)
    raw = tracks_of(brought_in(corpus, "raw", []))["still"][0]
    own = {"kind": "custom", "path": "my_filters:Dim", "options": {"by": 4}}
    frames = tracks_of(brought_in(corpus, "own", [own, "my_filters:Dim"]))["still"][0]
    once = raw // 4 + np.concatenate([raw[:1], raw[:-1]]) // 4
    assert np.array_equal(frames, once // 2 + np.concatenate([once[:1], once[:-1]]) // 2)


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        (["denoiser"], r"frames\.filters\[0\].*'denoiser'"),
        ([{"kind": "denoise", "strenth": 3}], r"frames\.filters\[0\]\.strenth: unknown key, .*did you mean strength"),
        ([{"kind": "stabilise", "frames": 0}], r"frames\.filters\[0\]\.frames: got 0"),
        ([{"kind": "blur"}], r"frames\.filters\[0\]: got neither faces nor boxes"),
        ([{"kind": "blur", "faces": "yunet"}], r"with model: None; expected `model: FILE.onnx`"),
        ([{"kind": "blur", "faces": "lbp", "model": "x.onnx"}], r"expected `model: FILE.onnx` with `faces: yunet`"),
        ([{"kind": "blur", "faces": "yunet", "model": "x.onnx"}], r"got model '.*/x\.onnx', expected an ONNX file"),
        ([{"kind": "blur", "faces": "yunet", "model": "hide.csv"}], r"hide\.csv can't be read as ONNX"),
        ([{"kind": "blur", "boxes": "none.csv"}], r"none\.csv"),
        (["nowhere:Filter"], r"frames\.filters: got 'nowhere:Filter', expected a class"),
        ([{"kind": "stabilise", "frames": 32}] * 3, r"expected at most 64 together"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(corpus: Path, chain: list[Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        brought_in(corpus, "wrong", chain)


def test_windows_that_overlap_count_too(corpus: Path) -> None:
    """Windows of 56 frames every 8 want 48 after a slot's last row: fine with 4 + 1 of the chain, not with 20."""
    some: dict[str, Any] = {"features": ["motion"], "patches": {"size": [56, 16, 16], "stride": [8, 16, 16]}}
    one = brought_in(corpus, "overlap-1", CHAIN, **some, units={"slot_frames": 64, "slots": 4})
    two = brought_in(corpus, "overlap-2", CHAIN, **some, units={"slot_frames": 64, "slots": 1})
    assert np.array_equal(one.array("motion/features"), two.array("motion/features"))
    with pytest.raises(RecipeError, match="need 20 frames after each frame, and features that need 48 more"):
        brought_in(corpus, "overlap-3", [{"kind": "stabilise", "frames": 20}], **some, units={"slot_frames": 64})


def report_of(corpus: Path, name: str, chain: list[Any]) -> tuple[list[Picture], str]:
    done = brought_in(corpus, name, chain)
    frames = {"size": list(SIZE), "filters": chain}
    data = {"name": name, "lake": "lake", "corpus": {"videos": "videos"}, "frames": frames}
    with canvas.style():
        return filter_pictures(done.tables, recipes.parse(data, base=corpus), pick_clips(done.tables, 2, min_rows=16))


def test_the_report_shows_each_filter_before_and_after(corpus: Path) -> None:
    pictures, sentence = report_of(corpus, "both-native", CHAIN)
    assert [picture.title for picture in pictures] == ["denoise", "stabilise"]
    assert sentence == ""
    assert len({picture.png for picture in pictures}) == 2
    again, _ = report_of(corpus, "both-native", CHAIN)
    assert again == pictures, "equal lakes, equal pictures"


def test_the_report_shows_nothing_that_is_hidden(corpus: Path) -> None:
    """The square of white noise that is covered is in no picture: what stands before it are flat grey pixels."""
    chain = ["denoise", {"kind": "blur", "boxes": "whole.csv", "how": "pixels", "strength": 1.0}]
    rows = "".join(f"videos/{name}.mkv,0,0,128,96\n" for name in ("long", "a", "b"))
    (corpus / "whole.csv").write_text("uri,x,y,width,height\n" + rows)
    pictures, sentence = report_of(corpus, "whole", chain)
    assert [picture.title for picture in pictures] == ["blur"]
    assert sentence == "Not shown: denoise, before blur, which hides things; name it first."
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0].png))).convert("RGB"))
    colours, counts = np.unique(shown.reshape(-1, 3), axis=0, return_counts=True)
    covered = tracks_of(brought_in(corpus, "whole", chain))
    assert all(len(np.unique(frame.reshape(-1, 3), axis=0)) == 1 for frames, _ in covered.values() for frame in frames)
    flat = {tuple(c) for c, n in zip(colours, counts, strict=True) if n > 0.01 * shown.shape[0] * shown.shape[1]}
    assert (150, 150, 150) in flat
    assert len(colours) < 600, "no picture, but a few flat colours and the edges of letters"


def test_an_entry_needs_a_known_kind() -> None:
    assert set(filters.FILTERS.ours) == {"denoise", "stabilise", "blur", "custom"}
