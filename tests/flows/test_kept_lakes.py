"""Lakes that the code of before wrote: they open, verify and grow (tests/kept/README.md)."""

from __future__ import annotations

import json
import shutil
import tarfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import Done

from patchlake.tasks import recipe as recipes
from patchlake.tasks.lake import open_lake
from patchlake.tasks.lake.digest import clip_hashes, digest
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.plan.products import extractors_of
from patchlake.tasks.storage.location import Location

KEPT = Path(__file__).resolve().parents[1] / "kept"
Run = Callable[..., Done]


@dataclass(frozen=True)
class Kept:
    """What a lake is known to hold, from the script that made it."""

    name: str
    features: tuple[str, ...]
    num_clips: int
    tracks: dict[str, int]
    """Name of a track that shows whole frames, or file of its video -> frames of the video."""
    step: float
    """Frames of the video per stored frame."""
    adds: Callable[[Path], None]
    """Adds a video of 20 frames to the corpus."""


def add_boxed(folder: Path) -> None:
    shutil.move(folder / "more.mkv", folder / "videos")
    with (folder / "boxes.csv").open("a") as file:
        file.write("videos/more.mkv,whole,,0,0,64,48\n")


def add_labelled(folder: Path) -> None:
    shutil.move(folder / "more.mkv", folder / "videos")
    with (folder / "videos.csv").open("a") as file:
        file.write("videos/more.mkv,up,train\n")


LAKES = (
    Kept("boxes", ("edges", "motion"), 9, {"a.mkv": 40, "b.mkv": 30}, 1, add_boxed),
    Kept("learnt", ("color", "regions"), 8, {"a.mkv": 40, "b.mkv": 40, "c.mkv": 30, "d.mkv": 30}, 2.5, add_labelled),
)


@pytest.fixture(params=LAKES, ids=[kept.name for kept in LAKES])
def kept(request: pytest.FixtureRequest) -> Kept:
    found: Kept = request.param
    return found


@pytest.fixture
def folder(kept: Kept, tmp_path: Path) -> Path:
    with tarfile.open(KEPT / f"{kept.name}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / kept.name


@pytest.fixture
def lake(kept: Kept, folder: Path) -> Location:
    return Location(str(folder / "lake" / kept.name))


def test_kept_lakes_are_small() -> None:
    assert sum(path.stat().st_size for path in KEPT.glob("*.tar.xz")) < 2_000_000


def test_it_opens_and_shows_the_frames_that_were_rendered(kept: Kept, lake: Location) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(lake.path / "arrays.zarr", engine="zarr")
    assert set(tree.children) == {"pixels", *kept.features}
    for name in kept.features:
        assert set(tree[name].dataset.coords) == {"track", "seconds", "y", "x", "channel"}
        assert tree[name]["features"].dims == ("time", "y", "x", "channel")

    opened = open_lake(lake.url)
    assert opened.products == tuple(sorted(("pixels", *kept.features)))
    assert opened.clips.num_rows == kept.num_clips
    tables = Tables(lake)
    files = {row["video_id"]: Path(row["uri"]).name for row in tables.sources.rows()}
    whole = {row["track"]: files[row["video_id"]] for row in tables.tracks.rows() if row["name"] in (None, "whole")}
    assert set(whole.values()) == set(kept.tracks)
    pixels = opened.product("pixels")
    for track, file in whole.items():
        rows = np.flatnonzero(pixels.track.values == track)
        assert len(rows) > 0
        seconds = pixels.seconds.values[rows]
        shown = clips.numbers_of(pixels["frames"].values[rows])
        assert shown == [int(number) for number in np.floor(seconds * 25 + 1e-6)]
        assert shown[-1] < kept.tracks[file]


@pytest.mark.parametrize("kept", LAKES[1:], ids=["learnt"])
def test_its_reduction_opens_and_its_model_is_a_feature_of_today(folder: Path, lake: Location) -> None:
    found = xr.open_zarr(lake.path / "reductions" / "pca-color.zarr", consolidated=False)
    assert found["components"].shape[0] == 2
    assert np.isfinite(found["components"].values).all()
    feature = {"kind": "hf_clip", "path": str(lake.path / "models" / "st_cnn"), "name": "net", "every": 4}
    wanted = {**yaml.safe_load((folder / "recipe.yaml").read_text()), "features": [feature]}
    for section in ("reduce", "train"):
        del wanted[section]
    extractors = extractors_of(recipes.parse(wanted, base=folder))
    assert len(extractors["net"].channels) > 1


def test_it_verifies(lake: Location, patchlake: Run) -> None:
    assert list(verify(lake)) == []
    done = patchlake("digest", lake.url)
    assert done.code == 0, done.err
    assert done.out.splitlines()[1] == f"content  {digest(lake).content}"


def test_it_grows_by_a_video_and_what_was_there_is_not_done_again(
    kept: Kept, folder: Path, lake: Location, patchlake: Run
) -> None:
    tables = Tables(lake)
    before, receipts = tables.clips.rows(), tables.receipts.rows()
    hashes = dict(clip_hashes(lake, before))
    shards = {path: path.stat().st_mtime_ns for path in (lake.path / "arrays.zarr").rglob("c/*/0/0/0")}
    assert len(hashes) == kept.num_clips * (1 + len(kept.features))
    kept.adds(folder)

    done = patchlake("run", str(folder / "recipe.yaml"))
    assert done.code == 0, done.err
    tables = Tables(lake)
    sources = {Path(row["uri"]).name: row["status"] for row in tables.sources.rows()}
    assert sources == dict.fromkeys([*kept.tracks, "more.mkv"], "ok")
    assert figures(tables)["ingest"]["frames decoded"] <= 20, "those of the new video alone"
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    found = tables.receipts.rows()
    assert all(row in found for row in receipts)
    clips_now = {row["clip_id"]: row for row in tables.clips.rows()}
    assert len(clips_now) > len(before)
    assert [clips_now[row["clip_id"]] for row in before] == before
    assert dict(clip_hashes(lake, before)) == hashes
    assert list(verify(lake)) == []


def figures(tables: Tables) -> dict[str, Any]:
    last = max(tables.runs.rows(), key=lambda row: row["started"])
    found: dict[str, Any] = json.loads(last["figures"])
    return found
