"""Regions of a scene whose objects are known: their masks, the rows that tell of them, and what links them over time.

Two videos, twice as large as the frame grid; spans over slot borders, in units of one slot.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import moving_scenes as scenes
import numpy as np
import pyarrow as pa
import pytest
from in_process import Ingested, ingest
from matplotlib import colors

from patchlake.tasks import canvas, features
from patchlake.tasks import recipe as recipes
from patchlake.tasks.features.regions import linking
from patchlake.tasks.features.regions import rows as regions
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.lake import open_lake
from patchlake.tasks.lake.schema import REGIONS
from patchlake.tasks.plan.products import extractors_of, products_of
from patchlake.tasks.report.outlines import region_strips
from patchlake.tasks.report.sample import open_feature, open_frames

NUM_FRAMES, WINDOW, SLOT = 60, 8, 32
LABELLED = NUM_FRAMES // WINDOW * WINDOW
HEIGHT, WIDTH = scenes.SIZE
PATCHES = Grid((8, 32, 32), (8, 32, 32))
SEEDS = [[42, 50], [188, 260], [20, 220]]
"""y, x of the disc and of the box in the first frame, and of a place on the rough ground."""
TEXTURED = 100
"""Grain of objects whose flow can be seen."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    (folder / "videos").mkdir()
    scenes.write(folder / "videos" / "plain.mkv", scenes.film(NUM_FRAMES))
    scenes.write(folder / "videos" / "textured.mkv", scenes.film(NUM_FRAMES, grain=TEXTURED))
    return folder


def recipe_of(slots: int) -> dict[str, Any]:
    return {
        "name": f"slots-{slots}",
        "corpus": {"videos": "videos"},
        "clips": [{"seconds": 60.0}],
        "frames": {"size": list(scenes.SIZE)},
        "patches": {"size": list(PATCHES.size)},
        "features": [
            {"kind": "regions", "cell": 1},
            {"kind": "regions", "name": "moving", "join": "motion", "cell": 2},
            {
                "kind": "regions",
                "name": "seeded",
                "seeds": [[42, 50], [188, 260], [20, 220]],
                "window": 1,
                "cell": 1,
                "tolerance": 20,
            },
        ],
        "units": {"slot_frames": SLOT, "slots": slots},
    }


@pytest.fixture(scope="module")
def done(corpus: Path) -> Ingested:
    done = ingest(corpus, recipe_of(1))
    assert len(done.plan.units) == 4
    return done


@dataclass(frozen=True)
class Told:
    """A video's labels, and the rows that tell of them."""

    row_start: int
    labels: Any
    rows: list[dict[str, Any]]


def told(done: Ingested, corpus: Path, video: str, name: str) -> Told:
    recipe = recipes.parse({"lake": "lake", **recipe_of(1)}, base=corpus)
    entry = next(e for e in recipe.features if e.name == name)
    assert isinstance(entry, RegionsSpec)
    product = products_of(recipe, extractors_of(recipe))[name]
    job = regions.Job(
        lake=done.lake, product=product, entry=entry, frames=recipe.frames.grid, patches=recipe.patches.grid
    )
    video_id = next(v for s, v in done.survey.sources if s.uri.endswith(video))
    placement = next(p for p in done.plan.placements if p.span.video_id == video_id)
    parts = regions.parts_of(placement, done.survey.videos[str(video_id)], None, slot_frames=SLOT)
    assert len(parts) > 1, "over a slot border"
    described = [row for part in reversed(parts) for row in regions.describe(job, part)]
    rows = linking.linked(described, window=entry.window, overlap=entry.overlap)
    pa.Table.from_pylist(rows, schema=REGIONS.arrow)
    rows_there = done.array(f"{name}/track") == placement.track
    return Told(placement.row_start, done.array(f"{name}/features")[rows_there][..., 0], rows)


def followed(one: Told, mask: scenes.Masks, cell: int, first: int = 0) -> tuple[list[float], list[str]]:
    """Return IoU of the best region of each frame with a mask, and the tracks that these are of."""
    shares, tracks = [], []
    for i in range(first, len(one.labels)):
        share, label = scenes.best_iou(one.labels[i], mask[i], cell)
        window = (one.row_start + i) // WINDOW
        row = next(r for r in one.rows if r["row_start"] // WINDOW == window and r["label"] == label)
        assert row["row_start"] <= one.row_start + i < row["row_stop"]
        shares.append(share)
        tracks.append(row["region_track"])
    return shares, tracks


def test_known_objects_are_found_and_followed(done: Ingested, corpus: Path) -> None:
    one = told(done, corpus, "plain.mkv", "regions")
    assert len(one.labels) == LABELLED, "frames that fill no window have no rows"
    ids = set()
    for body, mask in zip(scenes.BODIES, scenes.masks(NUM_FRAMES), strict=True):
        shares, tracks = followed(one, mask, 1)
        assert min(shares) >= 0.95, body.shape
        assert len(set(tracks)) == 1, "one thing, one track"
        ids |= set(tracks)
        mine = [row for row in one.rows if row["region_track"] == tracks[0]]
        assert len(mine) == LABELLED // WINDOW
        assert tracks[0] == mine[0]["region_id"]
        for row in mine:
            for box, at in ((row["first_box"], row["row_start"]), (row["last_box"], row["row_stop"] - 1)):
                y, x = (np.flatnonzero(mask[at - one.row_start].any(axis=axis)) for axis in (1, 0))
                expected = np.array([x[0], y[0], x[-1] + 1 - x[0], y[-1] + 1 - y[0]])
                np.testing.assert_allclose(np.array(box) / scenes.FACTOR, expected, atol=5)  # corners are rounded
                centre = np.array(box[:2]) + np.array(box[2:]) / 2
                np.testing.assert_allclose(centre / scenes.FACTOR, expected[:2] + expected[2:] / 2, atol=1.5)
            seconds = np.arange(row["row_start"], row["row_stop"] + 1) - one.row_start
            assert row["start_seconds"] == pytest.approx(seconds[0] / 25, abs=1e-3)
            assert row["last_seconds"] == pytest.approx(seconds[-2] / 25, abs=1e-3)
            assert row["stop_seconds"] == pytest.approx(seconds[-1] / 25, abs=1e-3)
            assert row["area"] == pytest.approx(mask[seconds[:-1]].sum(axis=(1, 2)).mean(), rel=0.03)
            np.testing.assert_allclose(row["mean_rgb"], body.colour, atol=8)
            np.testing.assert_allclose(row["mean_feature"], row["mean_rgb"], atol=4)
            np.testing.assert_allclose(row["motion"], [body.dx * 25, body.dy * 25], atol=4)
            left, top, wide, tall = row["box"]
            whole = np.flatnonzero(mask[seconds[:-1]].any(axis=(0, 1)))
            assert left <= whole[0] + 2
            assert left + wide >= whole[-1] - 1
            assert row["source_box"] == pytest.approx([side * scenes.FACTOR for side in (left, top, wide, tall)])
    assert len(ids) == len(scenes.BODIES)


def test_things_that_move_are_found_by_their_motion(done: Ingested, corpus: Path) -> None:
    one = told(done, corpus, "textured.mkv", "moving")
    assert not one.labels[0].any(), "a span's first frame has no motion"
    for mask in scenes.masks(NUM_FRAMES):
        shares, tracks = followed(one, mask, 2, first=1)
        assert np.mean(shares) >= 0.75
        assert len(set(tracks)) == 1
    assert one.labels.max() <= 8, "and little else is"
    body = scenes.BODIES[0]
    flow = np.mean([r["mean_feature"] for r in one.rows if r["mean_rgb"][0] > 150 and r["mean_rgb"][1] < 100], axis=0)
    np.testing.assert_allclose(flow, [body.dx, body.dy], atol=0.5)


def test_given_seeds_grow_what_they_lie_in(done: Ingested, corpus: Path) -> None:
    one = told(done, corpus, "plain.mkv", "seeded")
    assert len(one.labels) == NUM_FRAMES, "windows of one frame leave none over"
    for number, mask in enumerate(scenes.masks(NUM_FRAMES)[:2], start=1):
        inside = (one.labels[0] == number) & mask[0]
        assert inside.sum() / ((one.labels[0] == number) | mask[0]).sum() >= 0.95
    assert set(np.unique(one.labels[0])) == {0, 1, 2}, "a seed on the rough ground grows nothing of that size"


def test_labels_do_not_depend_on_units_and_are_the_extractors_own(done: Ingested, corpus: Path) -> None:
    other = ingest(corpus, recipe_of(8))
    assert len(other.plan.units) < len(done.plan.units)
    for name in ("regions", "moving", "seeded"):
        stored = done.array(f"{name}/features")
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(other.array(f"{name}/features"), stored)
    extractor = features.build(RegionsSpec(kind="regions", cell=1), patches=PATCHES, frame_size=scenes.SIZE)
    pixels, labels, there = (done.array(n) for n in ("pixels/frames", "regions/features", "regions/track"))
    for first in range(0, len(there) - WINDOW, WINDOW):
        if there[first] >= 0 and there[first + WINDOW - 1] == there[first]:
            alone = extractor(pixels[first : first + WINDOW])
            assert alone.tobytes() == labels[first : first + WINDOW].tobytes(), f"row {first}"
    assert not labels[there < 0].any()


def test_readers_see_integers(done: Ingested) -> None:
    lake = open_lake(str(done.lake))
    product = lake.product("regions")
    assert product.features.dtype == np.uint16
    assert product.channel.values.tolist() == ["label"]
    assert product.features.attrs["window_frames"] == WINDOW
    window = lake.patches(Grid((1, HEIGHT, WIDTH), (1, HEIGHT, WIDTH)), "regions").isel(time=0).values
    np.testing.assert_array_equal(window[0, 0, 0], product.features.values[product.track.values >= 0][0])


def test_the_report_shows_them_over_their_frames(done: Ingested, corpus: Path) -> None:
    one = told(done, corpus, "plain.mkv", "regions")
    done.tables.regions.overwrite(one.rows)
    assert open_lake(str(done.lake)).regions.num_rows == len(one.rows)
    feature, frames = open_feature(done.lake, "regions"), open_frames(done.lake)
    assert feature is not None
    with canvas.style():
        strips = [
            region_strips(feature, RegionsSpec(kind="regions", cell=1), done.tables, f, scenes.SIZE)
            for f in (frames, frames, None)
        ]
    assert strips[0] == strips[1], "equal lakes, equal pictures"
    (strip,) = strips[0]
    assert "plain.mkv" in strip.caption
    assert "grown by color over windows of 8 frames" in strip.caption
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(strip.png), np.uint8), cv2.IMREAD_COLOR)
    outline = np.array(colors.to_rgb(canvas.COLOURS[0])[::-1]) * 255
    there = np.abs(drawn.astype(int) - outline).max(axis=2) < 12
    panels = np.array_split(there.any(axis=0), 5)
    assert all(panel.any() for panel in panels), "what is largest for longest is outlined in every frame"
    (without,) = strips[2]
    assert without.png != strip.png


def test_a_feature_that_tells_them_apart_is_enough(corpus: Path) -> None:
    """Equally bright halves of fine and coarse stripes: their colours are the same, their edges are not."""
    y, x = np.indices((64, 96))
    stripes = np.where(x < 48, 60 + 120 * (y // 2 % 2), 60 + 120 * (y // 8 % 2)).astype(np.uint8)
    frames = np.repeat(np.repeat(stripes[None, :, :, None], 3, axis=3), 2, axis=0)
    spec = RegionsSpec.model_validate(
        {"kind": "regions", "join": "features", "feature": "edges", "cell": 8, "window": 2, "max_area": 0.6}
    )
    labels = features.build(spec, patches=PATCHES, frame_size=(64, 96))(frames)[..., 0]
    assert (labels[:, :, :5] == labels[0, 0, 0]).all()
    assert labels[0, 0, 0]
    assert not (labels[:, :, 7:] == labels[0, 0, 0]).any()
