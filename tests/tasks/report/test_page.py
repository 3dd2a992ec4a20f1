"""The report: one page that stands alone, tells what the lake holds, and copes with little in it."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numbered_clips as corpus
import numpy as np
import pytest
import zarr
from PIL import Image

from patchlake.tasks import recipe as recipes
from patchlake.tasks.figures import RunFigures
from patchlake.tasks.grid import Grid, centre_seconds
from patchlake.tasks.lake import arrays, coordinates, create
from patchlake.tasks.lake.coordinates import RowTimes
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan.dataset import Dataset, lake_of
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.products import extractors_of, frames_key, products_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.reductions import store
from patchlake.tasks.reductions.pca import pca
from patchlake.tasks.report.facts import Run
from patchlake.tasks.report.keep import keep_page, key_of_new_page, page_key
from patchlake.tasks.report.maps import first_component
from patchlake.tasks.report.page import render
from patchlake.tasks.report.reduced import sample_cells
from patchlake.tasks.report.sample import ClipView, open_feature, open_frames, pick_clips
from patchlake.tasks.report.strips import strip_rows
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import PIXELS

SLOT, FPS = 32, 16
SIZE = (48, 64)
FIGURES: dict[str, Any] = {
    "sources": {"ok": 4, "rejected": 1},
    "clips": 4,
    "ingest": {
        "frames decoded": 1234, "frames re-decoded": 56, "bytes": 7_890_000, "rows": 4321, "units": 3,
        "padding": 0.125, "frames/s": 250.0, "light frames/s": 500.0, "measured / light": 0.5,
        "features measured / light": 0.75, "busy seconds": 30.0, "decode pixels": 12.0, "decode flow": 0.0,
        "compute pixels": 0.0, "compute edges": 3.0, "compute flow": 9.0, "write pixels": 2.0, "write flow": 1.0,
        "wait pixels": 10.0,
        "light parts": {"decode": 1e-3, "write": 1e-4, "edges": 4e-4, "flow": 2.5e-3},
    },
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "key": "k",
    "classes": ["left", "right"],
    "mean_flow_accuracy": 0.45,
    "variants": {
        name: {
            "accuracy": accuracy, "interval": [accuracy - 0.2, accuracy + 0.1], "num_sources": 20,
            "confusion": [[9, 1], [1, 9]], "curve": [
                {"epoch": i, "train_loss": 1 / (i + 1), "test_accuracy": accuracy, "seconds": 1.0}
                for i in range(3)
            ],
        }
        for name, accuracy in (("st_cnn", 0.9), ("shuffled", 0.55), ("single_frame", 0.5))
    },
}  # fmt: skip


def recipe_of(folder: Path, **changes: object) -> Recipe:
    base: dict[str, Any] = {
        "name": "small",
        "lake": str(folder / "lake"),
        "corpus": {"videos": str(folder)},
        "frames": {"size": list(SIZE)},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges", "flow"],
        "reduce": [{"kind": "pca", "feature": "flow", "components": 4}],
        "units": {"slot_frames": SLOT},
        "train": {},
    }
    return recipes.parse(base | changes, base=folder)


def hf_product(recipe: Recipe) -> Product:
    """What `hf` stores, without a model: 12 tokens of 5 channels, every second frame."""
    y, x = ((np.arange(n) + 0.5) * size / n for n, size in zip((3, 4), recipe.frames.size, strict=True))
    return Product(
        name="vit", array="features", key={"kind": "hf"}, time_size=1, time_stride=2, y=tuple(y), x=tuple(x),
        channels=tuple(f"token_{i}" for i in range(5)), dtype="float16", rows_per_slot=SLOT // 2,
        chunk=(4, 3, 4),
        needs_gpu=False, attrs={"kind": "hf", "units": "1"},
    )  # fmt: skip


def make_lake(recipe: Recipe, labels: Sequence[str | None], num_frames: int = SLOT) -> Tables:
    """Make a lake of one clip a slot, at FPS from 1 s on: a bright square that moves right by 2 pixels."""
    lake = Location(recipe.lake) / recipe.name
    layout = recipe.layout
    plain = recipe.model_copy(update={"features": tuple(e for e in recipe.features if e.kind != "hf")})
    extractors = extractors_of(plain)
    products = products_of(plain, extractors)
    if len(plain.features) < len(recipe.features):
        products["vit"] = hf_product(recipe)
    create.make_dataset(lake, {"slot_frames": SLOT, "grid_align": layout.align, "frames": frames_key(recipe)})
    create.ensure_arrays(lake, products.values(), with_pts=False)
    create.grow(lake, len(labels), slot_frames=SLOT)
    tables = Tables(lake)
    seconds = 1 + np.arange(num_frames) / FPS
    for i in range(len(labels)):
        frames = np.random.default_rng(i).integers(0, 60, (num_frames, *SIZE, 3), np.uint8)
        for t, frame in enumerate(frames):
            frame[16:32, 2 * t % 64 : 2 * t % 64 + 16] = 230
        for name, product in products.items():
            if name == PIXELS:
                values = frames
            elif name == "vit":
                values = np.random.default_rng(i).normal(size=(num_frames // 2, 3, 4, 5)).astype(np.float16)
            elif num_frames >= product.time_size:
                extractor = extractors[name]
                values = extractor(np.concatenate([frames[:1]] * extractor.context_frames[0] + [frames]))
            else:
                values = np.empty((0, *product.cell_shape), np.float32)
            start = i * SLOT // product.time_stride
            times = centre_seconds(seconds, size=product.time_size, stride=product.time_stride)
            array = arrays.open_array(lake, f"{name}/{product.array}", mode="r+")
            array[start : start + len(values)] = values
            coordinates.write_times(lake, [RowTimes(product=name, row_start=start, track=i, seconds=times)])
    videos = [f"video{i}" for i in range(len(labels))]
    tables.sources.append(
        {"uri": f"/videos/{v}.mp4", "video_id": v, "label": label, "status": "ok", "message": ""}
        for v, label in zip(videos, labels, strict=True)
    )
    tables.tracks.append({"track": i, "video_id": v} for i, v in enumerate(videos))
    tables.clips.append(
        {
            "clip_id": f"clip{i}", "track": i, "video_id": v, "label": labels[i], "start_seconds": 1.0,
            "stop_seconds": 1 + num_frames / FPS, "row_start": i * SLOT, "row_stop": i * SLOT + num_frames,
        }
        for i, v in enumerate(videos)
    )  # fmt: skip
    for spec in recipe.reduce:
        feature = open_feature(lake, spec.product)
        assert feature is not None
        cells = np.asarray(feature.values[:], np.float64).reshape(-1, len(feature.channels))
        scatter = np.cov(cells.T) * (len(cells) - 1)
        total = {"count": np.array(len(cells)), "mean": cells.mean(0), "scatter": scatter}
        store.write(lake, spec.name, pca(total, channels=feature.channels, components=spec.components), key="k")
    return tables


def page_of(recipe: Recipe, tables: Tables, **figures: Any) -> str:
    said = RunFigures.from_json(FIGURES | figures | {"seconds": {"probe": 1.5, "ingest": 20.25}})
    started = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    run = Run(run_id="0123abcd", started=started, version="1.2.3", figures=said)
    page = render(dataset_of(recipe, tables), run, key="the-key")
    check_images(page)
    return page


def dataset_of(recipe: Recipe, tables: Tables) -> Dataset:
    """Return a recipe on the lake that was made by hand: a report needs neither products nor ledger."""
    ledger = Ledger(sources={}, videos={}, tracks={}, placements={})
    return Dataset(recipe=recipe, lake=lake_of(recipe), tables=tables, extractors={}, products={}, ledger=ledger)


def check_images(page: str) -> None:
    """Every picture is a PNG of a plausible size, at the page's aspect ratio, captioned; none is fetched."""
    sources = re.findall(r'<img src="([^"]*)" width="(\d+)" height="(\d+)" alt="([^"]+)">', page)
    assert len(sources) == page.count("<img") == page.count("<figure>") == page.count("<figcaption>")
    for source, width, height, _ in sources:
        prefix, _, data = source.partition(",")
        assert prefix == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width > 500
            assert image.height > 100
            assert image.width / image.height == pytest.approx(int(width) / int(height), rel=0.02)
            assert len(np.unique(np.asarray(image.convert("L")))) > 3  # not blank
    references = re.findall(r'\s(?:src|srcset|href|action|data)\s*=\s*["\']?([^"\'\s>]*)', page)
    assert len(references) > len(sources)
    assert all(reference.startswith("data:") for reference in references)
    assert not re.search(r"url\(|@import", page[page.index("<style>") : page.index("</style>")])


def text_of(page: str) -> str:
    """Return what a reader sees."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, flags=re.S)
    assert found, name
    return found[1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Tables]:
    recipe = recipe_of(tmp_path_factory.mktemp("small"))
    return recipe, make_lake(recipe, ["left", "right", "left", "up"])


@pytest.fixture(scope="module")
def page(small: tuple[Recipe, Tables]) -> str:
    return page_of(*small, train=TRAIN)


def test_the_page_tells_run_figures_and_shows_every_section(page: str) -> None:
    text = " ".join(text_of(page).split())
    for part in (
        "run 0123abcd, started 2026-05-06 07:08:09 UTC, patchlake 1.2.3", "4 ok, 1 rejected", "4,321 new",
        "7.9 MB",
        "12.5%", "1,234 frames, 56 of them again", "250 frames/s; speed of light 500 frames/s",
        "measured / light 0.50", "measured / light 0.75", "probe 1.5, ingest 20.2 seconds; 21.8 in all",
        "None: every source is ok.", "bare parts alone, 4.00 ms", "this run, 9.26 ms", "2 workers",
        "decode 30%, edges 8%, flow 22%, write 8%, other 8%, wait 25%; 40.0 seconds in all",
    ):  # fmt: skip
        assert part in text, part
    counts = {"figures": 1, "patches": 4, "features": 2, "principal-components": 1, "training": 3}
    assert {name: section(page, name).count("<img") for name in counts} == counts
    assert re.findall("<h3>(.*?)</h3>", section(page, "patches")) == ["left", "left", "right", "up"]
    assert "patches of 8 frames by 16 by 16 pixels" in section(page, "patches")
    assert "magnitude" in section(page, "features")
    assert "pixel / frame" in section(page, "features")
    assert "20 held-out sources" in section(page, "training")
    assert "18 on the diagonal" in section(page, "training")
    assert "the-key" in page


def test_equal_lakes_give_equal_pages_and_settings_stay(small: tuple[Recipe, Tables], page: str) -> None:
    recipe, _ = small
    before = zarr.config.get("codec_pipeline.path"), dict(matplotlib.rcParams)
    assert page_of(recipe, Tables(Location(recipe.lake) / recipe.name), train=TRAIN) == page
    assert (zarr.config.get("codec_pipeline.path"), dict(matplotlib.rcParams)) == before


def test_the_lines_that_open_the_lake_work(page: str) -> None:
    lines = html.unescape(section(page, "open").split("<pre>")[1].split("</pre>")[0])
    check = '\nassert tree["pixels/frames"].sizes["time"] == 128, tree'
    done = subprocess.run([sys.executable, "-W", "error", "-c", lines + check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"left\s*│\s*2", done.stdout), done.stdout


def test_text_from_outside_is_text(tmp_path: Path) -> None:
    labels = ["<script>alert(1)</script>", "$\\frac{$", "x" * 300, "q\"'& видео 動画 🎬"]
    recipe = recipe_of(tmp_path)
    tables = make_lake(recipe, labels)
    tables.sources.append(
        {"uri": f"/v/{label}", "status": "failed", "reason": "crash", "message": f"no {label} <b>"} for label in labels
    )
    confusion = np.eye(4, dtype=int).tolist()
    variants = {label: TRAIN["variants"]["st_cnn"] | {"confusion": confusion} for label in labels}
    page = page_of(recipe, tables, train={"classes": labels, "variants": variants})
    assert "<script" not in page
    assert "<b>" not in page
    for label in labels:
        assert f"no {label} <b>" in text_of(page)
        assert f"/v/{label}" in text_of(page)
        assert label in html.unescape("".join(re.findall("<h3>(.*?)</h3>", page)))


def test_bad_sources_are_listed_worst_first_and_the_rest_counted(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, reduce=[])
    tables = make_lake(recipe, [])
    bad = [("duplicate", 40, ""), ("rejected", 1201, "not_video"), ("failed", 3, "crash")]
    tables.sources.append(
        {"uri": f"/v/{status}{i:04}", "status": status, "reason": reason or None, "message": f"why {i}"}
        for status, count, reason in bad
        for i in range(count)
    )
    found = section(page_of(recipe, tables), "sources")
    assert "1,244 in all; the first 50 are listed, 1,194 more are in the table" in found
    rows = re.findall(r"<tr><td>(.*?)</td><td.*?>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", found)
    assert len(rows) == 50
    assert rows[2:4] == [
        ("/v/failed0002", "failed", "crash", "why 2"),
        ("/v/rejected0000", "rejected", "not_video", "why 0"),
    ]


EDGES = {"features": ["edges"], "reduce": [{"kind": "pca", "feature": "edges"}]}
HF = {"kind": "hf", "path": "nowhere/vit", "name": "vit"}
CASES: dict[str, tuple[dict[str, Any], list[str | None], int, dict[str, int]]] = {
    "no labels": ({}, [None, None], SLOT, {"patches": 2, "features": 2, "principal-components": 1}),
    "no features": ({"features": [], "reduce": []}, ["a", "b"], SLOT, {"patches": 2, "features": 0}),
    "no frames kept": (
        {"frames": {"size": SIZE, "keep": False}, "train": None}, ["a"], SLOT, {"patches": 0, "features": 2},
    ),
    "only hf": (
        {"features": [HF], "reduce": [{"kind": "pca", "feature": "vit"}]}, ["a", "b"], SLOT,
        {"patches": 2, "features": 1, "principal-components": 1},
    ),
    "shorter than a patch": ({"reduce": []}, ["a", "b"], 5, {"patches": 2, "features": 0}),
    "zero clips": ({"reduce": []}, [], SLOT, {"patches": 0, "features": 0, "principal-components": 0}),
    "one patch a frame": ({"patches": {"size": [8, *SIZE]}}, ["a"], SLOT, {"patches": 1, "features": 2}),
    "remainders": ({"patches": {"size": [8, 40, 24]}}, ["a"], SLOT, {"patches": 1, "features": 2}),
    "overlapping": ({"patches": {"size": [8, 16, 16], "stride": [4, 8, 8]}}, ["a"], SLOT, {"features": 2}),
    "many labels": (EDGES, [f"{i:02}" for i in range(14)], SLOT, {"patches": 4, "principal-components": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_lakes_of_all_kinds(tmp_path: Path, case: str) -> None:
    changes, labels, num_frames, counts = CASES[case]
    recipe = recipe_of(tmp_path, **changes)
    page = page_of(recipe, make_lake(recipe, labels, num_frames))
    assert {name: section(page, name).count("<img") for name in counts} == counts
    for name in ("patches", "features", "principal-components", "training"):
        assert "<img" in section(page, name) or "<p>" in section(page, name), name


def test_a_run_without_work_and_a_skipped_training_say_so(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, reduce=[])
    page = page_of(recipe, make_lake(recipe, []), ingest=None, train={"skipped": "There is 1 label, expected two."})
    assert "none new: nothing was decoded" in text_of(page)
    assert section(page, "figures").count("<img") == 0
    assert "Training was skipped. There is 1 label, expected two." in section(page, "training")


def test_clips_are_picked_of_all_labels_whatever_order_the_table_has(tmp_path: Path) -> None:
    lake = Location(str(tmp_path))
    rows = [
        {
            "clip_id": str(i), "track": i // 2, "video_id": f"v{i // 2}",
            "row_start": i * 8, "row_stop": i * 8 + 8, "label": "ab"[i % 50 == 7] if i % 3 else None,
            "start_seconds": i % 2, "stop_seconds": i % 2 + 1,
        }
        for i in range(200)
    ]  # fmt: skip
    Tables(lake).clips.append(reversed(rows))
    picked = pick_clips(Tables(lake), 4)
    assert {clip.label for clip in picked} == {"a", "b", None}
    assert len({clip.track for clip in picked}) == 4
    Tables(lake).clips.overwrite(rows)
    assert pick_clips(Tables(lake), 4) == picked
    assert len(pick_clips(Tables(lake), 500)) == 200
    assert all(clip.row_stop - clip.row_start == 8 for clip in pick_clips(Tables(lake), 2, min_rows=100))


def test_rows_and_frames_of_a_clip_are_its_own(small: tuple[Recipe, Tables]) -> None:
    recipe, _ = small
    lake = Location(recipe.lake) / recipe.name
    feature, frames = open_feature(lake, "flow"), open_frames(lake)
    assert feature is not None
    assert frames is not None
    clip = ClipView(
        label=None,
        name="",
        track=1,
        start_seconds=1.25,
        stop_seconds=2.4,
        row_start=SLOT + 4,
        row_stop=SLOT + 23,
    )
    rows, seconds = feature.rows_of(clip)
    assert rows.tolist() == [5, 6]  # centres 1.72 s and 2.22 s; row 4's is 1.22 s
    assert feature.rows_of(replace(clip, stop_seconds=2.2))[0].tolist() == [5]
    assert feature.rows_of(replace(clip, track=2))[0].tolist() == []
    np.testing.assert_allclose(seconds, [1 + 11.5 / FPS, 1 + 19.5 / FPS])
    assert [feature.frame_row(int(r)) for r in rows] == [SLOT + 12, SLOT + 20]
    assert strip_rows(clip, Grid((8, 16, 16), (4, 16, 16))) == [SLOT + 4, SLOT + 8, SLOT + 12]
    np.testing.assert_allclose(frames.seconds_at([SLOT + 12, SLOT + 8]), [1 + 12 / FPS, 1 + 8 / FPS])
    assert frames.at([SLOT + 12])[0][20, 2 * 12 + 4].tolist() == [230] * 3
    cells, labels = sample_cells(feature, [clip])
    assert cells.shape == (2 * 3 * 4, 16)
    assert set(labels) == {None}


def test_the_first_component_is_that_of_all_maps_together() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 6)) * [1, 5, 1, 1, 1, 1] + 7
    maps, share = first_component(list(values))
    cells = values.reshape(-1, 6)
    variances, vectors = np.linalg.eigh(np.cov(cells.T))
    expected = (cells - cells.mean(0)) @ vectors[:, -1]
    expected *= np.sign(vectors[np.abs(vectors[:, -1]).argmax(), -1])
    np.testing.assert_allclose(np.stack(maps).ravel(), expected, atol=1e-9)
    assert share == pytest.approx(variances[-1] / variances.sum())
    assert first_component([np.ones((2, 2, 3))])[1] == 0


def test_a_huge_lake_costs_no_more_than_a_small_one(tmp_path: Path) -> None:
    """Twenty million rows, 170 GiB of frames: only shapes and rows of the picked clips may be touched."""
    recipe = recipe_of(tmp_path)
    tables = make_lake(recipe, ["left", "right"])
    lake = Location(recipe.lake) / recipe.name
    create.grow(lake, 20_000_000 // SLOT, slot_frames=SLOT)
    known = tables.clips.rows()
    tables.clips.append(
        known[i % 2] | {"clip_id": f"more{i}", "start_seconds": 1.0 + i % 7 / 10} for i in range(100_000)
    )
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory_kb("VmRSS")
    page_of(recipe, tables)
    assert memory_kb("VmHWM") - before < 200_000


def memory_kb(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.M)
    assert found
    return int(found[1])


def write_report(recipe: Recipe, tables: Tables, drawn: list[str], version: str = "1", **figures: Any) -> None:
    """Put a page into the lake if one is wanted; it is added to those drawn."""
    run = Run(run_id="r", started=datetime.now(UTC), version=version, figures=RunFigures.from_json(figures))
    if (key := key_of_new_page(dataset_of(recipe, tables), run)) is not None:
        drawn.append(key)
        keep_page(lake_of(recipe), f"page {key}")


def test_a_page_is_drawn_again_only_for_something_new(tmp_path: Path) -> None:
    drawn: list[str] = []
    recipe = recipe_of(tmp_path)
    tables = make_lake(recipe, ["left"])
    write_report(recipe, tables, drawn)
    write_report(recipe, tables, drawn)
    write_report(recipe.model_copy(update={"cluster": {"workers": 9}}), tables, drawn)
    assert len(drawn) == 1
    for something in ({"ingest": {}}, {"pca-flow": {"cells": 1}}, {"trained": True}):
        write_report(recipe, tables, drawn, **something)
    assert len(drawn) == 4
    tables.clips.overwrite([row | {"label": "right"} for row in tables.clips.rows()])
    write_report(recipe, tables, drawn)
    write_report(recipe, tables, drawn)
    assert len(drawn) == 5
    assert drawn[0] == drawn[3] != drawn[4]
    assert (Location(recipe.lake) / "small").get("report/index.html") == f"page {drawn[4]}".encode()
    (Path(recipe.lake) / "small/report/index.html").unlink()
    write_report(recipe, tables, drawn)
    assert len(drawn) == 6
    run = Run(run_id="r", started=datetime.now(UTC), version="2", figures=RunFigures())
    assert page_key(dataset_of(recipe, tables), run) != drawn[4]


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        corpus.unavailable("needs Chromium (Debian: apt-get install chromium)")
    return str(found)


PROBE = """<script>
addEventListener("load", () => {
  const images = [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.clientHeight]);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const fetched = performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length;
  document.title = "probe " + JSON.stringify({images, wide, fetched});
});
</script>"""


@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_draws_every_picture(page: str, tmp_path: Path, width: int) -> None:
    browser = chromium()
    path = tmp_path / "page.html"
    path.write_text(page.replace("</head>", f"{PROBE}</head>"))
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},2000", "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    title = re.search(r"<title>probe (.*?)</title>", dom)
    assert title, dom[:500]
    found = json.loads(html.unescape(title[1]))
    assert len(found["images"]) == page.count("<img")
    for complete, natural, client_width, client_height in found["images"]:
        assert complete
        assert natural > 1000
        assert min(client_width, client_height) > 60
    assert found["wide"] <= 0  # nothing pushes the page out of the window
    assert found["fetched"] == 0
