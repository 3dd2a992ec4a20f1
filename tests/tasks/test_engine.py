"""A video opens as lazy xarray: the right frames at the right seconds, and no more of them decoded than must be."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import dask
import numbered_clips as clips
import numpy as np
import numpy.typing as npt
import obstore
import pytest
import xarray as xr

from patchlake.tasks import engine
from patchlake.tasks.storage import objects
from patchlake.tasks.video.decoder import Decoder

ENGINE: Any = "patchlake-video"
VFR_MS = [i * 40 + (i % 3) * 13 + 500 * (i > 20) for i in range(100)]
KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "bframes.mp4": {"bframes": 2, "open_gop": True},
    "bframes.mkv": {"bframes": 3},
    "vfr.mkv": {"bframes": 2, "times_ms": VFR_MS},
    "bframes.ts": {"bframes": 2},
    "bframes.avi": {"codec": "mpeg4", "bframes": 2},
    "vp8.webm": {"codec": "libvpx"},
    "raw.h264": {"bframes": 2},
    "turned.mp4": {"rotation": 90, "size": (96, 130)},
}
COUNTED = ("bframes.avi", "raw.h264")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, how in KINDS.items():
        clips.render(folder / name, num_frames=100, gop=10, **how)
    return folder


@pytest.fixture
def num_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the frames that come out of the decoder, one number for each request."""
    counts: list[int] = []
    read = Decoder.frames

    def counting(self: Decoder, request: Any) -> Iterator[Any]:
        yield from read(self, request)
        assert self.summary is not None
        counts.append(self.summary.num_decoded)

    monkeypatch.setattr(Decoder, "frames", counting)
    return counts


def by_pyav(path: Path) -> npt.NDArray[np.uint8]:
    """Return all frames, converted by the flags that patchlake states, one after the other."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    graph = av.filter.Graph()
    first = frames[0]
    colors = f"pix_fmt={first.format.name}:colorspace={int(first.colorspace)}:range={int(first.color_range)}"
    chain = [graph.add("buffer", f"video_size={first.width}x{first.height}:time_base=1/1:{colors}")]
    if first.rotation:
        chain.append(graph.add("transpose", "clock"))
    chain += [graph.add("scale", "flags=bilinear+bitexact"), graph.add("format", "rgb24"), graph.add("buffersink")]
    graph.link_nodes(*chain).configure()
    pictures = []
    for frame in frames:
        graph.vpush(frame)
        pictures.append(graph.vpull().to_ndarray())
    return np.stack(pictures)


def ffprobe(path: Path, what: str) -> list[dict[str, Any]]:
    kind = what.partition("=")[0] + "s"
    command = [clips.tool("ffprobe"), "-v", "error", "-select_streams", "v:0", "-show_entries", what, "-of", "json"]
    told: list[dict[str, Any]] = json.loads(
        subprocess.run([*command, str(path)], check=True, capture_output=True).stdout
    )[kind]
    return told


@pytest.mark.parametrize("name", KINDS)
def test_frames_and_seconds_are_pyavs_and_ffprobes(folder: Path, name: str) -> None:
    dataset = xr.open_dataset(folder / name, engine=ENGINE)
    np.testing.assert_array_equal(dataset.frames, by_pyav(folder / name))
    height, width = (130, 96) if name == "turned.mp4" else (96, 128)
    assert dataset.frames.dims == ("time", "y", "x", "channel")
    assert (dataset.frames.shape, dataset.frames.dtype) == ((100, height, width, 3), np.uint8)
    if name != "turned.mp4":
        assert clips.numbers_of(dataset.frames.values) == list(range(100))
    if name not in COUNTED:
        times = [
            float(frame["best_effort_timestamp_time"])
            for frame in ffprobe(folder / name, "frame=best_effort_timestamp_time")
        ]
        np.testing.assert_allclose(dataset.seconds, np.array(times) - times[0], atol=2e-6)
    np.testing.assert_array_equal(dataset.y, np.arange(height) + 0.5)
    np.testing.assert_array_equal(dataset.x, np.arange(width) + 0.5)
    assert dataset.channel.values.tolist() == ["red", "green", "blue"]


SELECTIONS: list[dict[str, Any]] = [
    {"time": 37},
    {"time": -1},
    {"time": slice(35, 52)},
    {"time": slice(None, None, 7)},
    {"time": slice(60, 20, -3)},
    {"time": [3, 4, 88]},
    {"time": [88, 3, 3, -2]},
    {"time": [], "x": 5},
    {"time": slice(10, 12), "y": slice(20, 70, 3), "x": slice(-40, None)},
    {"time": 5, "y": 7, "x": [90, 2, 2], "channel": 1},
    {"time": np.arange(100) % 31 == 0, "channel": [2, 0]},
    {"time": xr.DataArray([9, 50, 20], dims="point"), "x": xr.DataArray([1, 2, 3], dims="point")},
]


@pytest.mark.parametrize("name", ["bframes.mkv", "bframes.avi", "turned.mp4"])
@pytest.mark.parametrize("number", range(len(SELECTIONS)))
def test_any_selection_gives_what_it_gives_of_all_frames(folder: Path, name: str, number: int) -> None:
    lazy = xr.open_dataset(folder / name, engine=ENGINE)
    loaded = lazy.load().copy()
    selected = xr.open_dataset(folder / name, engine=ENGINE).isel(SELECTIONS[number])
    xr.testing.assert_identical(selected.load(), loaded.isel(SELECTIONS[number]))


def test_seconds_and_pixels_select(folder: Path) -> None:
    dataset = xr.open_dataset(folder / "vfr.mkv", engine=ENGINE)
    some = dataset.sel(seconds=slice(0.4, 1.5), y=slice(0, 24))
    expected = [i for i, ms in enumerate(VFR_MS) if 400 <= ms <= 1500]
    assert clips.numbers_of(dataset.sel(seconds=slice(0.4, 1.5)).frames.values) == expected
    assert some.frames.shape == (len(expected), 24, 128, 3)
    assert clips.number_of(dataset.sel(seconds=0.93, method="nearest").frames.values) == 20  # 0.826 s; the next: 1.34 s


def test_only_what_is_selected_is_decoded(folder: Path, num_decoded: list[int]) -> None:
    frames = xr.open_dataset(folder / "plain.mp4", engine=ENGINE).frames
    assert num_decoded == []

    def cost(**selection: Any) -> list[int]:
        num_decoded.clear()
        frames.isel(selection).load()
        return num_decoded.copy()

    assert cost(time=40) == [2]  # the frame after it tells the end
    assert cost(time=slice(52, 58)) == [9]
    assert cost(time=[1, 15, 16, 90, 95]) == [3, 8, 7]
    assert cost(time=[5, 12]) == [14]  # key frame 10 is near: one run
    assert cost(time=slice(5, None, 40)) == [7, 7, 7]
    assert cost(time=slice(None, None, 2)) == [100]
    assert cost(time=[], y=3) == []


def test_chunks_begin_at_key_frames(folder: Path, num_decoded: list[int]) -> None:
    for name in ("bframes.mp4", "vfr.mkv"):
        flags = [frame["key_frame"] for frame in ffprobe(folder / name, "frame=key_frame")]
        dataset = xr.open_dataset(folder / name, engine=ENGINE, chunks={})
        lengths = dataset.frames.chunks[0]
        assert sum(lengths) == 100
        assert lengths == (40, 40, 20)
        starts = np.cumsum([0, *lengths[:-1]])
        assert all(flags[start] for start in starts)
    num_decoded.clear()
    chunk = dataset.frames[40:80].compute()
    assert clips.numbers_of(chunk.values) == list(range(40, 80))
    assert sum(num_decoded) <= 43
    one = clips.render(folder / "one_key.mp4", num_frames=50, gop=500)
    assert xr.open_dataset(one, engine=ENGINE, chunks={}).frames.chunks == ((50,), (96,), (128,), (3,))
    with pytest.warns(UserWarning, match="separate the stored chunks"):
        assert xr.open_dataset(one, engine=ENGINE, chunks={"time": 20}).frames.chunks[0] == (20, 20, 10)


@pytest.mark.parametrize("scheduler", ["processes", "threads"])
def test_dask_reads_chunks_side_by_side(folder: Path, scheduler: str) -> None:
    dataset = xr.open_dataset(folder / "bframes.mkv", engine=ENGINE, chunks={})
    expected = xr.open_dataset(folder / "bframes.mkv", engine=ENGINE).frames.mean(("y", "x", "channel"))
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = dataset.frames.mean(("y", "x", "channel")).compute()
    xr.testing.assert_allclose(found, expected)


def test_threads_and_pickles_read_the_same(folder: Path) -> None:
    dataset = xr.open_dataset(folder / "plain.mp4", engine=ENGINE)
    again = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: clips.number_of(again.frames[row].values), range(0, 100, 9)))
    assert found == list(range(0, 100, 9))


@pytest.mark.parametrize("fps", [5, "30000/1001", 12.5])
@pytest.mark.parametrize("name", ["vfr.mkv", "bframes.avi"])
def test_a_rate_shows_the_last_frame_at_or_before_each_time(folder: Path, name: str, fps: Any) -> None:
    dataset = xr.open_dataset(folder / name, engine=ENGINE, fps=fps)
    times = xr.open_dataset(folder / name, engine=ENGINE).seconds.values
    rate = Fraction(str(fps))
    np.testing.assert_array_equal(dataset.seconds, [float(k / rate) for k in range(dataset.sizes["time"])])
    expected = [int(np.flatnonzero(times <= second + 1e-9)[-1]) for second in dataset.seconds.values]
    assert clips.numbers_of(dataset.frames.values) == expected
    np.testing.assert_array_equal(dataset.pts_seconds, times[expected])
    assert dataset.sizes["time"] > 4 * float(rate) * 0.8
    some = [17, 3, 4]
    assert clips.numbers_of(dataset.frames[some].values) == [expected[k] for k in some]
    assert dataset.attrs["fps"] == float(rate)


def test_sizes_and_fits(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "wide.mp4", num_frames=3, size=(96, 128), sample_aspect=Fraction(3, 2))
    plain = xr.open_dataset(path, engine=ENGINE)
    assert plain.frames.shape == (3, 96, 128, 3)
    assert plain.attrs["sample_aspect"] == 1.5
    boxed = xr.open_dataset(path, engine=ENGINE, size=(100, 100), fit="letterbox").frames
    assert boxed.shape == (3, 100, 100, 3)
    assert (boxed[:, :24] == 0).all()  # shown as 192 x 96: 50 rows high
    assert boxed[:, 60].mean() > 50
    whole = xr.open_dataset(path, engine=ENGINE, size=(48, 64), fit="stretch").frames
    assert clips.numbers_of(whole.values) == [0, 1, 2]
    with pytest.raises(ValueError, match="fit: got 'zoom'"):
        xr.open_dataset(path, engine=ENGINE, size=(48, 64), fit="zoom")
    for size in (48, (48,), (48, 0), (48.5, 20), "48x64"):
        with pytest.raises(ValueError, match="size: got"):
            xr.open_dataset(path, engine=ENGINE, size=size)
    for rate in ("fast", 0, -3):
        with pytest.raises(ValueError, match="fps: got"):
            xr.open_dataset(path, engine=ENGINE, fps=rate)


def test_frames_larger_than_the_usual_slot(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "large.mp4", num_frames=3, size=(2400, 2560))
    dataset = xr.open_dataset(path, engine=ENGINE)
    assert dataset.frames[0].nbytes > 16 << 20
    assert clips.numbers_of(dataset.frames[1:].values) == [1, 2]


def test_it_is_guessed_by_name_and_told_by_attributes(folder: Path) -> None:
    path = folder / "bframes.ts"
    dataset = xr.open_dataset(path, drop_variables=["x"])
    assert "x" not in dataset.variables
    assert dataset.attrs["codec"] == "h264"
    assert dataset.attrs["fps"] == 25
    assert dataset.attrs["source"] == str(path)
    first = ffprobe(path, "frame=pts_time")[0]
    assert dataset.attrs["first_pts_seconds"] == pytest.approx(float(first["pts_time"]), abs=1e-6)
    assert dataset.attrs["first_pts_seconds"] > 0
    guess = engine.VideoEntrypoint().guess_can_open
    assert all(map(guess, ["a.MP4", Path("b.mkv"), "s3://bucket/c.webm"]))
    assert not any(map(guess, ["a.nc", "lake.zarr", b"bytes.mp4", 3]))
    with pytest.raises(TypeError, match="expected the path"):
        xr.open_dataset(path.open("rb"), engine=ENGINE)


def test_what_can_t_be_read_is_a_plain_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4: "):
        xr.open_dataset(tmp_path / "gone.mp4", engine=ENGINE)
    text = tmp_path / "text.mp4"
    text.write_text("what a movie this was\n" * 99)
    with pytest.raises(ValueError, match=r"text\.mp4: .*container format"):
        xr.open_dataset(text, engine=ENGINE)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((folder / "plain.mp4").read_bytes()[:9000])
    with pytest.raises(OSError, match="cut off or broken"):
        xr.open_dataset(cut, engine=ENGINE)


def test_a_frame_that_is_lost_is_an_error_and_the_others_are_there(tmp_path: Path) -> None:
    path = clips.render(tmp_path / "a.mkv", num_frames=30, gop=1)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    at = data.index(b"\x00\x00", packets[12][0])  # the length before the first unit of frame 12
    data[at : at + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    frames = xr.open_dataset(path, engine=ENGINE).frames
    with pytest.raises(ValueError, match=r"no frame for row 12 of `time`: .*undecodable"):
        frames.load()
    others = [n for n in range(30) if n != 12]
    assert clips.numbers_of(frames[others].values) == others


def test_opening_imports_neither_lake_nor_scheduler(folder: Path) -> None:
    code = f"""
import sys, xarray
dataset = xarray.open_dataset({str(folder / "plain.mp4")!r}, engine="patchlake-video")
assert dataset.frames[3].values.any()
heavy = ("prefect", "distributed", "patchlake.tasks.lake", "patchlake.flows", "deltalake", "torch", "cv2", "av", "zarr")
print([name for name in heavy if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout
    assert told.strip() == "[]"


def test_forked_processes_read_too(folder: Path) -> None:
    code = f"""
import multiprocessing, xarray
frames = xarray.open_dataset({str(folder / "plain.mp4")!r}, engine="patchlake-video").frames
def work(row):
    return frames[row].values.tobytes()
expected = work(3)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(work, [3, 3]).get(5) == [expected] * 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20, capture_output=True)


def test_objects_open_by_url(folder: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    engine.close_decoders()  # a child keeps the environment that it was started in
    obstore.put(objects.s3_store("s3://lakes"), "some/100% clip.mp4", folder / "bframes.mp4")
    dataset = xr.open_dataset("s3://lakes/some/100% clip.mp4", engine=ENGINE, chunks={})
    assert clips.numbers_of(dataset.frames[38:43].values) == list(range(38, 43))
    engine.close_decoders()


@pytest.mark.shared_videos
def test_a_real_video(num_decoded: list[int]) -> None:
    path = clips.shared_videos() / "clips" / "bikes_cuts.mp4"
    dataset = xr.open_dataset(path, engine=ENGINE, chunks={})
    expected = by_pyav(path)
    assert dataset.frames.shape == expected.shape == (250, 272, 640, 3)
    times = [float(frame["best_effort_timestamp_time"]) for frame in ffprobe(path, "frame=best_effort_timestamp_time")]
    np.testing.assert_allclose(dataset.seconds, np.array(times) - times[0], atol=2e-6)
    flags = [frame["key_frame"] for frame in ffprobe(path, "frame=key_frame")]
    assert all(flags[start] for start in np.cumsum([0, *dataset.frames.chunks[0][:-1]]))
    lazy = xr.open_dataset(path, engine=ENGINE).frames
    for some in (slice(200, 210), [5, 240, 241], slice(None, None, 60)):
        np.testing.assert_array_equal(lazy[some], expected[some])
