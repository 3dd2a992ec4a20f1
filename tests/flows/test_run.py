"""The job end to end, by the command line, on real processes: what is stored, what is not done again."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numbered_clips as clips
import numpy as np
import pytest
import xarray as xr
from command_line import Done

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

Run = Callable[..., Done]
Write = Callable[..., Path]


def table(lake: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = getattr(Tables(Location(str(lake))), name).rows()
    return found


def digest(run: Run, lake: Path | str, env: dict[str, str] | None = None) -> str:
    done = run("digest", str(lake), env=env)
    assert done.code == 0, done.err
    return done.out


def figures(lake: Path) -> dict[str, Any]:
    last = max(table(lake, "runs"), key=lambda row: row["started"])
    found: dict[str, Any] = json.loads(last["figures"])
    return found


def decoded(path: Path) -> np.ndarray:
    """Decode a clip by hand, scaled to 48 x 64 by one plain libavfilter chain."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        scale = graph.add("scale", "64:48:flags=bilinear+bitexact")
        nodes = [graph.add_buffer(template=stream), scale, graph.add("format", "rgb24"), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        for frame in container.decode(stream):
            graph.push(frame)
            frames.append(graph.pull().to_ndarray())
    return np.stack(frames)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "small"


def test_a_run_stores_every_frame_of_every_clip(
    patchlake: Run, first_run: Done, lake: Path, small_corpus: Path
) -> None:
    assert first_run.code == 0, first_run.err
    sources = {Path(row["uri"]).name: row for row in table(lake, "sources")}
    assert {name: row["status"] for name, row in sources.items()} == {
        "a.mp4": "ok", "b.mkv": "ok", "long.mp4": "ok", "c.mp4": "ok", "d.mp4": "ok", "not_a_video.mp4": "rejected",
    }  # fmt: skip
    assert sources["not_a_video.mp4"]["reason"] == "not_video"

    tree = xr.open_datatree(lake / "arrays.zarr", engine="zarr")
    pixels = tree["pixels"].dataset
    assert pixels["frames"].dims == ("time", "y", "x", "channel")
    assert list(pixels["channel"].values) == ["red", "green", "blue"]
    lengths = {"a.mp4": 20, "b.mkv": 31, "long.mp4": 110, "c.mp4": 17, "d.mp4": 40}
    for name, num_frames in lengths.items():
        rows = [row for row in table(lake, "clips") if row["video_id"] == sources[name]["video_id"]]
        first, stop = min(r["row_start"] for r in rows), max(r["row_stop"] for r in rows)
        stored = pixels.isel(time=slice(first, stop))
        assert clips.numbers_of(stored["frames"].values) == list(range(num_frames)), name
        fresh = decoded(next(small_corpus.rglob(name)))
        np.testing.assert_array_equal(stored["frames"].values, fresh, err_msg=f"{name}: not a fresh decode's bytes")
        assert (stored["track"].values == rows[0]["track"]).all()
        np.testing.assert_allclose(stored["seconds"].values, np.arange(num_frames) / 25, atol=1.1e-3)
        for row in rows:
            times = pixels["seconds"].values[row["row_start"] : row["row_stop"]]
            assert (times >= row["start_seconds"]).all()
            assert (times < row["stop_seconds"]).all()
            assert row["label"] == Path(small_corpus / "left" / name).exists() * "left" or row["label"] == "right"
    assert (pixels["track"].values >= 0).sum() == sum(lengths.values())

    flow = tree["flow"].dataset
    features = flow["features"]
    assert features.dims == ("time", "y", "x", "channel")
    assert features.shape[1:] == (3, 4, 16)
    assert list(flow["y"].values) == [8, 24, 40]
    rows_of_flow = int((flow["track"].values >= 0).sum())
    assert rows_of_flow == sum(n // 8 for n in lengths.values())
    assert patchlake("verify", str(lake)).code == 0


def test_again_decodes_nothing_and_changes_nothing(patchlake: Run, first_run: Done, recipe: Write, lake: Path) -> None:
    assert first_run.code == 0
    before = digest(patchlake, lake)
    versions = {
        name: len(list((lake / "tables" / name / "_delta_log").glob("*.json"))) for name in ("clips", "receipts")
    }
    again = patchlake("run", str(recipe()), "--performance-report", str(lake / "performance.html"))
    assert again.code == 0
    assert "nothing was decoded" in again.out
    assert "no performance report: the run needed no cluster" in again.err
    assert "ingest" not in figures(lake)
    assert figures(lake)["probed"] == 0
    assert digest(patchlake, lake) == before
    assert versions == {
        name: len(list((lake / "tables" / name / "_delta_log").glob("*.json"))) for name in ("clips", "receipts")
    }


def test_one_more_video_is_the_only_work(
    patchlake: Run, recipe: Write, lake: Path, small_corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(small_corpus, folder)
    corpus = {"videos": str(folder), "labels": "folder"}
    assert patchlake("run", str(recipe(corpus=corpus))).code == 0
    shards = {p: p.stat().st_mtime_ns for p in (lake / "arrays.zarr").rglob("c/*/0/0/0")}
    clips.render(folder / "right" / "new.mp4", num_frames=30, gop=12, size=(64, 80))
    assert patchlake("run", str(recipe(corpus=corpus))).code == 0
    found = figures(lake)
    assert found["probed"] == 1
    assert found["ingest"]["rows"] == 30
    assert found["ingest"]["frames decoded"] == 30
    assert {p: p.stat().st_mtime_ns for p in shards} == shards
    assert len(table(lake, "sources")) == 7
    assert patchlake("verify", str(lake)).code == 0


def test_labels_and_splits_are_table_edits(
    patchlake: Run, recipe: Write, lake: Path, small_corpus: Path, tmp_path: Path
) -> None:
    def manifest(label: str, split: str) -> dict[str, str]:
        path = tmp_path / "corpus.csv"
        names = sorted(p for p in small_corpus.rglob("*") if p.suffix in (".mp4", ".mkv") and "not" not in p.name)
        path.write_text("uri,label,split\n" + "".join(f"{p},{label},{split}\n" for p in names))
        return {"videos": str(path), "labels": "column"}

    assert patchlake("run", str(recipe(corpus=manifest("old", "train")))).code == 0
    again = patchlake("run", str(recipe(corpus=manifest("new", "test"))))
    assert again.code == 0, again.err
    assert "nothing was decoded" in again.out
    assert {row["label"] for row in table(lake, "clips")} == {"new"}
    assert {(row["label"], row["split"]) for row in table(lake, "sources")} == {("new", "test")}


def test_workers_change_no_bit(patchlake: Run, recipe: Write, tmp_path: Path) -> None:
    digests = []
    for workers, slots in ((1, 8), (2, 1)):
        cluster = {"kind": "local", "workers": workers, "dashboard": False}
        path = recipe(lake=str(tmp_path / f"w{workers}"), cluster=cluster, units={"slot_frames": 32, "slots": slots})
        assert patchlake("run", str(path)).code == 0
        digests.append(digest(patchlake, tmp_path / f"w{workers}" / "small"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rate_takes_the_frame_shown_then(patchlake: Run, recipe: Write, lake: Path, workers: int) -> None:
    """One worker gets all three slots of the long clip as one unit, two get a unit or more each."""
    cluster = {"kind": "local", "workers": workers, "dashboard": False}
    units = {"slot_frames": 16, "slots": 4}
    path = recipe(frames={"size": [48, 64], "fps": 10}, features=["flow"], cluster=cluster, units=units)
    assert patchlake("run", str(path)).code == 0
    sources = {Path(row["uri"]).name: row["video_id"] for row in table(lake, "sources")}
    rows = [row for row in table(lake, "clips") if row["video_id"] == sources["long.mp4"]]
    first, stop = min(r["row_start"] for r in rows), max(r["row_stop"] for r in rows)
    pixels = xr.open_datatree(lake / "arrays.zarr", engine="zarr")["pixels"].dataset.isel(time=slice(first, stop))
    assert pixels.sizes["time"] == 44  # 4.4 s
    assert clips.numbers_of(pixels["frames"].values) == [k * 25 // 10 for k in range(44)]
    np.testing.assert_array_equal(pixels["seconds"].values, np.arange(44) / 10)
    np.testing.assert_allclose(
        pixels["pts_seconds"].values, np.array([k * 25 // 10 for k in range(44)]) / 25, atol=1e-9
    )


def test_verify_sees_a_flipped_bit(patchlake: Run, first_run: Done, lake: Path) -> None:
    assert first_run.code == 0
    shard = next((lake / "arrays.zarr/pixels/frames/c").rglob("0/0/0/0"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    done = patchlake("verify", str(lake))
    assert done.code == 1
    assert "pixels rows [" in done.out


@pytest.fixture(scope="session")
def plain_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with xarray, zarr and numcodecs, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("plain")
    venv.create(folder, with_pip=True)
    constraints = Path(__file__).resolve().parents[2] / "constraints.txt"
    install = [
        folder / "bin/python",
        "-m",
        "pip",
        "install",
        "-q",
        "-c",
        constraints,
        "xarray",
        "zarr",
        "numcodecs",
    ]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        clips.unavailable(f"needs a network that reaches PyPI: {done.stderr[-300:]}")
    return folder / "bin/python"


READER = """
import os, sys, time, warnings
warnings.simplefilter("error")
import xarray
path, end = sys.argv[1], sys.argv[2]
shapes, ends = set(), False
while not ends:
    ends = os.path.exists(end)
    tree = xarray.open_datatree(path, engine="zarr")
    pixels = tree["pixels"].dataset
    assert set(pixels.coords) == {"track", "seconds", "y", "x", "channel"}, pixels.coords
    assert pixels.frames.dims == tree["flow"].features.dims == ("time", "y", "x", "channel")
    assert tree["flow"].sizes["time"] * 8 == pixels.sizes["time"]
    stored = pixels.frames[pixels.track.values >= 0]
    shapes.add(pixels.sizes["time"])
    time.sleep(0.02)
print(len(shapes), int(stored.astype("int64").sum()))
"""


@pytest.mark.long
def test_plain_readers_see_labels_also_while_a_run_grows_the_lake(
    patchlake: Run, recipe: Write, lake: Path, plain_python: Path, small_corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(small_corpus / "right", folder)
    corpus = {"videos": str(folder), "labels": "none"}
    assert patchlake("run", str(recipe(corpus=corpus))).code == 0
    arrays = str(lake / "arrays.zarr")
    reader = [str(plain_python), "-c", READER, arrays]  # reads until a file is there, and once more
    end = tmp_path / "end"
    reading = subprocess.Popen([*reader, str(end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    shutil.copytree(small_corpus / "left", folder / "left")
    assert patchlake("run", str(recipe(corpus=corpus))).code == 0
    end.touch()
    out, err = reading.communicate(timeout=120)
    assert reading.returncode == 0, err
    assert int(out.split()[0]) == 2, "the reader was to see the lake before and after it grew"
    done = subprocess.run([*reader, str(end)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pixels = xr.open_datatree(arrays, engine="zarr")["pixels"].dataset
    there = pixels["track"].values >= 0
    assert int(done.stdout.split()[1]) == int(pixels["frames"].values[there].astype(np.int64).sum())


def test_duckdb_reads_the_tables(first_run: Done, lake: Path) -> None:
    import duckdb
    from deltalake import DeltaTable

    assert first_run.code == 0
    sources = DeltaTable(str(lake / "tables/sources")).to_pyarrow_dataset()
    counted = duckdb.sql("select status, count(*) from sources group by status order by status").fetchall()
    assert sources is not None
    assert counted == [("ok", 5), ("rejected", 1)]
