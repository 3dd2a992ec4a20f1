"""Windows of a lake are what plain slices of its arrays are, and nothing is read that was not asked for."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from pathlib import Path

import numbered_clips as clips
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import Ingested, ingest
from strategies import grids

from patchlake.tasks.errors import LakeError, RecipeError
from patchlake.tasks.grid import Grid
from patchlake.tasks.lake import open_lake, schema
from patchlake.tasks.lake.committed import RowRanges, committed_ranges
from patchlake.tasks.lake.nearest import nearest_cells, nearest_rows
from patchlake.tasks.lake.product_rows import RowIndex
from patchlake.tasks.lake.reading import Lake
from patchlake.tasks.lake.windows import DIMS
from patchlake.tasks.tracks import geometry_at, to_source
from patchlake.tasks.types import BoxPath

quick = settings(max_examples=60, deadline=None)
SIZE = (48, 64)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Two tracks of a long video, one of which moves, and short ones that share a slot; two spans of the long one."""
    folder = tmp_path_factory.mktemp("lake")
    (folder / "videos").mkdir()
    clips.render(folder / "videos" / "long.mkv", num_frames=110, gop=10, bframes=2)
    for name, num_frames in (("a.mp4", 12), ("b.mp4", 9), ("c.mp4", 5)):
        clips.render(folder / "videos" / name, num_frames=num_frames, gop=6)
    (folder / "boxes.csv").write_text(
        "uri,track,seconds,x,y,width,height\n"
        "videos/long.mkv,still,,32,24,64,48\n"
        "videos/long.mkv,moving,0,0,20,64,48\n"
        "videos/long.mkv,moving,4.36,64,40,64,48\n"
        + "".join(f"videos/{name}.mp4,{name},,0,0,128,96\n" for name in "abc")
    )
    done = ingest(
        folder,
        {
            "corpus": {"videos": "videos"},
            "tracks": {"boxes": "boxes.csv"},
            "clips": [{"seconds": 2.0, "stride_seconds": 2.4}],
            "patches": {"size": [4, 16, 16], "stride": [2, 16, 8]},
            "features": ["edges", "motion", "shot_score"],
        },
    )
    assert max(len(span) for span in spans_of(done)) == 50
    assert len(spans_of(done)) == 7
    done.tables.track_boxes.append(
        row
        for placement in {p.track: p for p in done.plan.placements}.values()
        for row in schema.box_rows(placement.track, done.survey.wanted[placement.span.track_id].track)
    )
    return done


@pytest.fixture
def lake(done: Ingested) -> Lake:
    return open_lake(str(done.lake))


def spans_of(done: Ingested) -> list[range]:
    """Return the rows of every span, in row order."""
    table = done.tables.spans.rows(["row_start", "num_rows"])
    return [range(r["row_start"], r["row_start"] + r["num_rows"]) for r in sorted(table, key=lambda r: r["row_start"])]


def by_hand(frames: np.ndarray, spans: list[range], grid: Grid) -> tuple[np.ndarray, list[int]]:
    """Return (time, y, x, dt, dy, dx, channel) windows cut one by one, and each one's first row."""
    found, first = [], []
    for span in spans:
        block = frames[span.start : span.stop]
        shape = grid.shape(block.shape[:3])
        for t in range(shape[0]):
            cells = [block[grid.cell((t, y, x))] for y in range(shape[1]) for x in range(shape[2])]
            found.append(np.stack(cells).reshape(*shape[1:], *grid.size, -1))
            first.append(span.start + grid.cell((t, 0, 0))[0].start)
    return np.stack(found), first


GRIDS = [
    Grid((4, 16, 16), (4, 16, 16)),
    Grid((8, 48, 64), (1, 1, 1)),
    Grid((5, 20, 12), (3, 9, 16), (2, 5, 3)),
    Grid((12, 1, 1), (1, 40, 50), (0, 7, 9)),
    Grid((50, 7, 7), (1, 41, 57)),
]


@pytest.mark.parametrize("grid", GRIDS)
def test_windows_are_slices_of_spans_and_say_where_they_lie(lake: Lake, done: Ingested, grid: Grid) -> None:
    frames, seconds, track = (done.array(f"pixels/{name}") for name in ("frames", "seconds", "track"))
    expected, first = by_hand(frames, spans_of(done), grid)
    patches = lake.patches(grid)
    assert patches.dims == DIMS
    assert patches.dtype == np.uint8
    np.testing.assert_array_equal(patches.values, expected)
    np.testing.assert_array_equal(patches.row, first)
    np.testing.assert_array_equal(patches.track, track[first])
    last = np.array(first) + grid.size[0] - 1
    np.testing.assert_array_equal(patches.seconds, (seconds[first] + seconds[last]) / 2)
    np.testing.assert_array_equal(patches.y, grid.centres(1, SIZE[0]))
    np.testing.assert_array_equal(patches.x, grid.centres(2, SIZE[1]))
    assert patches.channel.values.tolist() == ["red", "green", "blue"]


def test_windows_at_stride_one_are_numpy_s_sliding_windows(lake: Lake, done: Ingested) -> None:
    grid = Grid((6, 32, 40), (1, 1, 1))
    frames = done.array("pixels/frames")
    patches = lake.patches(grid)
    for span in (span for span in spans_of(done) if len(span) >= 6):
        sliding = np.lib.stride_tricks.sliding_window_view(frames[span.start : span.stop], grid.size, axis=(0, 1, 2))
        mine = np.flatnonzero((patches.row >= span.start) & (patches.row < span.stop))
        assert len(mine) == len(sliding) == len(span) - 5
        for some in (slice(0, 4), slice(-3, None)):
            np.testing.assert_array_equal(patches.isel(time=mine[some]), sliding[some].transpose(0, 1, 2, 4, 5, 6, 3))
    some = patches.isel(time=slice(0, 30)).values
    assert some.size > 30 * 17 * 25 * 6 * 32 * 40
    owner = some
    while owner.base is not None:
        owner = owner.base
    assert owner.nbytes <= 35 * 48 * 64 * 3, "no pixel is there twice"
    assert not some.flags.writeable


def test_windows_of_a_feature_s_own_patches_stand_beside_its_rows(lake: Lake) -> None:
    patches, edges = lake.patches(Grid((4, 16, 16), (2, 16, 8))), lake.product("edges")
    row = (patches.row // 2).values
    for name in ("track", "seconds"):
        np.testing.assert_allclose(edges[name].values[row], patches[name], rtol=0, atol=1e-12)
    assert set(np.flatnonzero(edges.track >= 0)) == set(row), "as many, and no others"
    np.testing.assert_array_equal(edges.y, patches.y)
    np.testing.assert_array_equal(edges.x, patches.x)


def test_windows_of_features_are_windows_of_their_rows(lake: Lake, done: Ingested) -> None:
    grid = Grid((3, 2, 3), (2, 1, 2))
    stored = done.array("edges/features")
    track = done.array("edges/track")
    spans = [range(s.start // 2, s.start // 2 + (len(s) - 4) // 2 + 1) for s in spans_of(done) if len(s) >= 4]
    assert sum(map(len, spans)) == (track >= 0).sum()
    expected, first = by_hand(stored, spans, grid)
    patches = lake.patches(grid, "edges")
    np.testing.assert_array_equal(patches.values, expected)
    np.testing.assert_array_equal(patches.row, first)
    y = done.array("edges/y")
    np.testing.assert_array_equal(patches.y, [(a + b) / 2 for a, b in itertools.pairwise(y)])
    assert patches.channel.values.tolist() == ["gradient_x", "gradient_y", "magnitude", "canny"]


def test_a_selection_is_that_of_all_windows(lake: Lake) -> None:
    patches = lake.patches(Grid((4, 20, 12), (2, 7, 8)))
    whole = patches.copy(data=patches.values)
    points = {name: xr.DataArray([3, 0, 2, 3], dims="window") for name in ("time", "y", "x")}
    for pick in (
        {"time": 5},
        {"time": [7, 2, 2, -1], "y": slice(None, None, -1), "dx": 3},
        {"y": 1, "x": slice(1, 4), "dt": slice(1, 3), "channel": [2, 0]},
        {"time": slice(3, 3)},
        points,
        {**points, "dt": slice(1, 4, 2), "dy": 5, "channel": [1]},
        {"time": xr.DataArray([[1, 2], [8, 0]], dims=("a", "b"))},
    ):
        for found, expected in (
            (patches.isel(pick), whole.isel(pick)),
            (patches[1:].isel(pick).isel(dy=[4, 1]) if "dy" not in pick else None, None),
        ):
            if expected is not None:
                xr.testing.assert_identical(found.load(), expected)
            elif found is not None:
                xr.testing.assert_identical(found.load(), whole[1:].isel(pick).isel(dy=[4, 1]))
    xr.testing.assert_identical(patches.sel(y=21, method="nearest").load(), whole.sel(y=21, method="nearest"))
    xr.testing.assert_identical(pickle.loads(pickle.dumps(patches))[3].load(), whole[3])
    np.testing.assert_array_equal(patches.chunk({"time": 9})[2:30].mean(("dt", "dy")), whole[2:30].mean(("dt", "dy")))


def test_samples_follow_from_the_seed_alone(lake: Lake) -> None:
    grid = Grid((4, 20, 12), (1, 3, 5))
    patches = lake.patches(grid).load()
    whole = xr.concat(lake.sample(grid, 100, seed=3, batch=100), "window")
    assert whole.dims == ("window", "dt", "dy", "dx", "channel")
    for batch in (1, 7, 64):
        parts = list(lake.sample(grid, 100, seed=3, batch=batch))
        assert [len(part) for part in parts[:-1]] == [batch] * (len(parts) - 1)
        xr.testing.assert_identical(xr.concat(parts, "window"), whole)
    xr.testing.assert_identical(next(iter(lake.sample(grid, 10, seed=3))), whole[:10])
    assert not np.array_equal(next(iter(lake.sample(grid, 10, seed=4))), whole[:10])
    for window in whole:
        same = patches.isel(time=int(np.flatnonzero(patches.row == window.row)[0])).sel(y=window.y, x=window.x)
        np.testing.assert_array_equal(window, same)
        assert (window.track, window.seconds) == (same.track, same.seconds)


def test_samples_are_drawn_evenly(lake: Lake) -> None:
    grid = Grid((9, 24, 64), (9, 24, 64))
    patches = lake.patches(grid)
    drawn = xr.concat(lake.sample(grid, 3000, seed=0), "window")
    counts = Counter(zip(drawn.row.values.tolist(), drawn.y.values.tolist(), strict=True))
    cells = patches.sizes["time"] * patches.sizes["y"]
    assert len(counts) == cells
    expected = 3000 / cells
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 2 * cells


def test_what_is_not_there_is_said(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected LAKE/NAME"):
        open_lake(tmp_path)
    with pytest.raises(LakeError, match=r"'edgez', expected one of: edges, motion, pixels, shot_score"):
        lake.patches(Grid((1, 1, 1), (1, 1, 1)), "edgez")
    with pytest.raises(ValueError, match=r"expected cells that fit into the \(48, 64\)"):
        lake.patches(Grid((1, 49, 1), (1, 1, 1)))
    assert lake.patches(Grid((51, 8, 8), (1, 8, 8))).sizes["time"] == 0
    with pytest.raises(ValueError, match="no committed span of pixels is long enough"):
        next(lake.sample(Grid((51, 8, 8), (1, 8, 8)), 3, seed=0))


def test_tables_and_products_open_as_they_are(lake: Lake, done: Ingested) -> None:
    assert lake.products == ("edges", "motion", "pixels", "shot_score")
    assert lake.sources.num_rows == 4
    assert lake.clips.num_rows == len(done.tables.clips.rows())
    assert set(lake.tracks["name"].to_pylist()) == {"still", "moving", "a", "b", "c"}
    for name in lake.products:
        array = lake.product(name)["frames" if name == "pixels" else "features"]
        assert not array.variable._in_memory
        np.testing.assert_array_equal(array[30:50], done.array(f"{name}/{array.name}")[30:50])
        assert {"track", "seconds", "y", "x", "channel"} == set(array.coords)


def test_receipts_alone_say_which_rows_are_there(done: Ingested) -> None:
    runs = committed_ranges(done.lake, "edges")
    assert runs.rows().tolist() == np.flatnonzero(done.array("edges/track") >= 0).tolist()
    of_pixels = committed_ranges(done.lake, "pixels")
    assert [range(a, b) for a, b in zip(of_pixels.start, of_pixels.stop, strict=True)] == spans_of(done)
    np.testing.assert_array_equal(of_pixels.track, done.array("pixels/track")[of_pixels.start])
    receipts = done.tables.receipts.rows()
    old = [{**row, "product_digest": "old", "row_starts": [r + 500 for r in row["row_starts"]]} for row in receipts]
    try:
        done.tables.receipts.append([*old, receipts[0]])  # of other options; and a unit that ran twice
        np.testing.assert_array_equal(committed_ranges(done.lake, "edges").rows(), runs.rows())
        np.testing.assert_array_equal(committed_ranges(done.lake, "pixels").stop, of_pixels.stop)
        done.tables.receipts.overwrite([])
        assert len(committed_ranges(done.lake, "edges").rows()) == 0
    finally:
        done.tables.receipts.overwrite(receipts)


@quick
@given(
    grid=grids(5),
    lengths=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 20)), max_size=6),
)
def test_cells_of_runs_are_those_of_each_run(grid: Grid, lengths: list[tuple[int, int]]) -> None:
    spans, at = [], 0
    for gap, length in lengths:
        spans.append(range(at + gap, at + gap + length))
        at += gap + length
    runs = RowRanges(
        np.array([s.start for s in spans], dtype=np.int64),
        np.array([s.stop for s in spans], dtype=np.int64),
        np.arange(len(spans)),
    )
    first, track = runs.cells(grid)
    expected = [(s.start + a, i) for i, s in enumerate(spans) for a in grid.starts(0, len(s))]
    assert list(zip(first.tolist(), track.tolist(), strict=True)) == expected
    assert runs.rows().tolist() == [row for span in spans for row in span]


TIMES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=12)


@quick
@given(a=TIMES, b=TIMES)
def test_pairs_are_the_nearest_of_the_same_track(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    def centres(pairs: list[tuple[int, int]], first: int) -> RowIndex:
        tracks, times = [p[0] for p in pairs], [p[1] / 30 for p in pairs]
        return RowIndex(np.arange(first, first + len(pairs)), np.array(tracks, dtype=np.int32), np.array(times))

    found, distance = nearest_rows(centres(a, 5), centres(b, 100))
    for (track, time), row, far in zip(a, found, distance, strict=True):
        options = [(abs(time - t), t, 100 + i) for i, (k, t) in enumerate(b) if k == track]
        if options:
            best = min(options)
            assert row == best[2]
            assert far == pytest.approx(best[0] / 30)
        else:
            assert row == -1
            assert np.isnan(far)


def test_cells_pair_with_the_nearest_and_of_two_with_the_first() -> None:
    found = nearest_cells(np.array([0.0, 8.0, 12.0, 40.0]), np.array([4.0, 12.0, 20.0]))
    assert found.tolist() == [0, 0, 1, 2]


def test_products_pair_by_time_and_place(lake: Lake, done: Ingested) -> None:
    pairs = lake.align("edges", "shot_score")
    a, b = lake.product("edges").load(), lake.product("shot_score").load()
    assert pairs.sizes == {"time": a.sizes["time"], "y": 3, "x": 7}
    for row in range(a.sizes["time"]):
        there = np.flatnonzero((b.track == a.track[row]) & (a.track[row] >= 0))
        if not len(there):
            assert pairs.time_index[row] == -1
            continue
        far = np.abs(b.seconds[there].values - a.seconds[row].item()).round(9)
        assert pairs.time_index[row] == there[far.argmin()]
        assert pairs.distance_seconds[row] == pytest.approx(far.min())
    assert (pairs.y_index == 0).all()
    beside = b.features.isel(time=pairs.time_index, y=pairs.y_index, x=pairs.x_index)
    assert beside.shape[:3] == a.features.shape[:3]
    near = lake.align("edges", "shot_score", tolerance_seconds=0.01)
    assert (near.time_index == -1).all(), "its centres lie between two frames"
    same = lake.align("motion", "edges")
    there = same.time_index.values >= 0
    np.testing.assert_array_equal(same.time_index.values[there], np.flatnonzero(there))
    np.testing.assert_array_equal(same.x_index, np.arange(7))


def test_cells_lead_back_to_source_pixels(lake: Lake, done: Ingested) -> None:
    names = dict(zip(lake.tracks["name"].to_pylist(), lake.tracks["track"].to_pylist(), strict=True))
    grid = Grid((4, 16, 16), (2, 16, 8))
    box = grid.source_box((0, 1, 2), lake.to_source(names["still"]))
    assert box == (32 + 16, 24 + 16, 16, 16)  # a box of 64x48 at x 32, y 24, on a grid of that size
    assert grid.source_box((0, 1, 2), lake.to_source(names["a"])) == (32, 32, 32, 32)
    path = BoxPath(name="moving", seconds=(0.0, 4.36), boxes=((0, 20, 64, 48), (64, 40, 64, 48)))
    video = next(v for v in done.survey.videos.values() if v.num_frames == 110)
    for seconds in (0.0, 1.0, 4.36):
        expected = to_source(geometry_at(path, seconds, video, size=SIZE, fit="crop"))
        assert lake.to_source(names["moving"], seconds) == expected
    with pytest.raises(LakeError, match="got track 99"):
        lake.to_source(99)
    table = done.tables.tracks.rows()
    try:
        done.tables.tracks.overwrite({**row, "to_source": [2.0, 0, 1, 0, 3, 5]} for row in table)
        assert grid.source_box((0, 1, 2), lake.to_source(names["still"])) == (33, 53, 32, 48)
    finally:
        done.tables.tracks.overwrite(table)


def test_a_bucket_s_lake_reads_like_a_folder_s(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=40, gop=12)
    done = ingest(tmp_path, {"lake": "s3://lakes/reading", "corpus": {"videos": "videos"}, "features": []})
    frames, grid = done.array("pixels/frames"), Grid((4, 16, 16), (1, 4, 4))
    recwarn.clear()
    lake = open_lake("s3://lakes/reading/x")
    patches = pickle.loads(pickle.dumps(lake.patches(grid)))
    np.testing.assert_array_equal(patches[30, 2, 3], frames[30:34, 8:24, 12:28])
    for window in next(iter(lake.sample(grid, 9, seed=0))):
        y, x = int(window.y) - 8, int(window.x) - 8
        np.testing.assert_array_equal(window, frames[window.row.item() :][:4, y : y + 16, x : x + 16])
    assert lake.product("pixels").frames[7, 3].values.tolist() == frames[7, 3].tolist()
    assert lake.to_source(0) == (2.0, 0.0, 0.0, 0.0, 2.0, 0.0)
    assert not recwarn.list
