"""Tracks of one video share one decode; boxes, still or moving, are cut where they are; nothing is lost or doubled."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import av
import numbered_clips as clips
import numpy as np
import pytest
from in_process import Ingested, ingest

from patchlake.tasks import pts
from patchlake.tasks.tracks import box_at, geometry_at
from patchlake.tasks.types import BoxPath
from patchlake.tasks.video.probe import Probed

SIZE = (96, 128)


def decoded(path: Path) -> np.ndarray:
    """Decode a clip by hand at its own size, through a plain libavfilter chain."""
    found = []
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        ends = (graph.add_buffer(template=container.streams.video[0]), graph.add("buffersink"))
        graph.link_nodes(ends[0], graph.add("scale", "flags=bilinear+bitexact"), graph.add("format", "rgb24"), ends[1])
        graph.configure()
        for frame in container.decode(video=0):
            graph.push(frame)
            found.append(graph.pull().to_ndarray())
    return np.stack(found)


def write_boxes(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["uri", "track", "seconds", "x", "y", "width", "height", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "short.mp4", num_frames=12, gop=6)
    clips.render(tmp_path / "videos" / "long.mkv", num_frames=110, gop=10, bframes=2)
    return tmp_path


BOXES = [
    {"uri": "videos/short.mp4", "track": "a", "x": 0, "y": 0, "width": 64, "height": 48, "label": "left"},
    {"uri": "videos/short.mp4", "track": "b", "x": 64, "y": 48, "width": 64, "height": 48, "label": "right"},
    {"uri": "videos/long.mkv", "track": "still", "x": 32, "y": 24, "width": 64, "height": 48},
    {"uri": "videos/long.mkv", "track": "moving", "seconds": 0, "x": 0, "y": 20, "width": 64, "height": 48},
    {"uri": "videos/long.mkv", "track": "moving", "seconds": 4.36, "x": 64, "y": 40, "width": 64, "height": 48},
]


def recipe(corpus: Path, **changes: object) -> dict[str, object]:
    boxes = write_boxes(corpus / "boxes.csv", BOXES)
    base = {"corpus": {"videos": "videos"}, "tracks": {"boxes": str(boxes)}, "frames": {"size": [48, 64]}}
    return {**base, "features": [], "patches": {"size": [4, 16, 16]}, **changes}


def test_each_box_is_cut_where_it_is_and_each_frame_decoded_once(corpus: Path) -> None:
    done = ingest(corpus, recipe(corpus))
    stored, seconds = done.array("pixels/frames"), done.array("pixels/seconds")
    whole = {name: decoded(corpus / "videos" / name) for name in ("short.mp4", "long.mkv")}
    for name, video, (x, y) in (
        ("a", "short.mp4", (0, 0)),
        ("b", "short.mp4", (64, 48)),
        ("still", "long.mkv", (32, 24)),
    ):
        rows = done.track_rows(name)
        assert seconds[rows] == pytest.approx(np.arange(len(whole[video])) / 25)
        cut = whole[video][:, y : y + 48, x : x + 64].astype(int)
        difference = np.abs(stored[rows] - cut)[:, 2:-2, 2:-2]  # chroma at the edge of a crop has other neighbours
        assert difference.max() <= 2
    rows = done.track_rows("moving")
    path = BoxPath(name="moving", seconds=(0.0, 4.36), boxes=((0, 20, 64, 48), (64, 40, 64, 48)))
    video = next(iter(v for v in done.survey.videos.values() if v.num_frames == 110))
    assert len(rows) == 110
    for i, row in enumerate(rows):
        expected = (64 * seconds[row] / 4.36, 20 + 20 * seconds[row] / 4.36)
        assert box_at(path, seconds[row])[:2] == pytest.approx(expected)
        x, y, w, h = geometry_at(path, float(seconds[row]), video, size=(48, 64), fit="crop").crop
        assert abs(x + w / 2 - expected[0] - 32) <= 2
        assert abs(y + h / 2 - expected[1] - 24) <= 2
        if (w, h) == (64, 48):
            cut = whole["long.mkv"][i, y : y + 48, x : x + 64].astype(int)
            assert np.abs(stored[row] - cut)[2:-2, 2:-2].max() <= 2
    units = len(done.plan.units)
    assert done.num_decoded - done.num_redecoded <= 122 + 4 * units, "each source frame once, but a few past each unit"
    assert len(done.plan.units) == 5
    assert {len(ranges) for unit in done.plan.units for ranges in unit.decodes} == {2}


def test_units_of_other_sizes_and_orders_write_the_same_bytes(corpus: Path) -> None:
    first = ingest(corpus, recipe(corpus, lake="one", features=["edges", "flow"]))
    second = ingest(
        corpus, recipe(corpus, lake="two", features=["edges", "flow"], units={"slot_frames": 32, "slots": 1})
    )
    third = ingest(corpus, recipe(corpus, lake="three"), num_workers=3)
    ingest(corpus, recipe(corpus, lake="three", features=["edges", "flow"]))
    for name in ("pixels/frames", "edges/features", "flow/features", "flow/seconds", "pixels/track"):
        assert np.array_equal(first.array(name), second.array(name), equal_nan=name == "flow/seconds")
        assert np.array_equal(first.array(name), third.array(name), equal_nan=name == "flow/seconds"), (
            "from stored pixels"
        )
    assert len(second.plan.units) > len(first.plan.units)
    labels = {row["label"] for row in first.tables.clips.rows()}
    assert labels == {"left", "right", None}


def test_a_box_at_a_numeric_rate_shows_the_frames_of_the_grid(corpus: Path) -> None:
    done = ingest(corpus, recipe(corpus, frames={"size": [48, 64], "fps": 10}))
    stored, whole = done.array("pixels/frames"), decoded(corpus / "videos" / "long.mkv")
    for name in ("still", "moving"):
        rows = done.track_rows(name)
        assert done.array("pixels/seconds")[rows] == pytest.approx(np.arange(44) / 10)
        shown = np.floor(np.arange(44) / 10 * 25 + 1e-9).astype(int)
        assert done.array("pixels/pts_seconds")[rows] == pytest.approx(shown / 25)
    cut = whole[shown][:, 24:72, 32:96].astype(int)
    assert np.abs(stored[done.track_rows("still")] - cut)[:, 2:-2, 2:-2].max() <= 2


def test_a_file_with_one_key_frame_is_one_unit_and_others_are_cut(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "one.mp4", num_frames=400, gop=1000)
    clips.render(tmp_path / "videos" / "many.mp4", num_frames=400, gop=10)
    done = ingest(tmp_path, {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}}, num_workers=4)
    units = [
        unit
        for unit in done.plan.units
        if any(read_range.span_key == _span(done, 1) for read_range in unit.read_ranges)
    ]
    assert len(units) <= 2, "it is cut near its beginning at most, where that costs little"
    assert len(done.plan.units) > 4
    assert done.num_redecoded <= 16 + 10 * len(done.plan.units)
    assert done.num_decoded - done.num_redecoded <= 800 + 2 * len(done.plan.units)
    frames_ = done.array("pixels/frames")
    for placement in done.plan.placements:
        rows = frames_[placement.row_start : placement.row_stop]
        assert clips.numbers_of(rows) == list(range(400))


def _span(done: Ingested, num_keys: int) -> str:
    return next(p.span.span_key for p in done.plan.placements if len(pts.unpack(p.span.key_pts)) == num_keys)


def test_frames_that_packets_had_not_promised_are_stored_in_a_second_pass(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=100, gop=10)

    def forget(probe: Probed) -> Probed:
        """Tell of fewer packets than there are, as a lying index does."""
        assert probe.index is not None
        assert probe.video is not None
        kept = [i for i in range(100) if i not in (40, 41, 42, 98, 99)]
        index = replace(probe.index, pts=probe.index.pts[kept], key_rows=np.array([0]))
        return replace(probe, index=index, video=replace(probe.video, num_frames=95))

    wanted = {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}}
    first = ingest(tmp_path, wanted, mend=forget)
    assert {row["reason"] for row in first.tables.failures.rows()} == {"count_grew"}
    second = ingest(tmp_path, wanted)
    assert second.plan.surplus
    assert ingest(tmp_path, wanted).plan.units == (), "nothing is left to do"
    seconds, track = second.array("pixels/seconds"), second.array("pixels/track")
    numbers = np.array(clips.numbers_of(second.array("pixels/frames")))[track >= 0]
    assert sorted(numbers) == list(range(100)), "no frame is lost or doubled"
    assert numbers / 25 == pytest.approx(seconds[track >= 0])
    rows = [row for row in second.tables.clips.rows() if row["row_stop"] > row["row_start"]]
    covered = {r for row in rows for r in range(row["row_start"], row["row_stop"])}
    assert covered == set(np.flatnonzero(track >= 0)), "surplus frames lie in clips, too"
