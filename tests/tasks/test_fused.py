"""One decode feeds every product: how many source frames are decoded does not depend on how many products there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clips
import deep
import pytest
from ingesting import Ingested, ingest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "short").mkdir()
    (folder / "long").mkdir()
    for name, num_frames in (("short/a.mp4", 31), ("short/b.mkv", 17), ("short/c.mp4", 9), ("long/d.mp4", 150)):
        clips.render(folder / name, num_frames=num_frames, gop=12, bframes=2)
    deep.make("vit").save_pretrained(folder / "vit")
    return folder


def ingested(corpus: Path, lake: str, videos: str, products: list[Any]) -> Ingested:
    patches = {"size": [4, 16, 16]}
    return ingest(corpus, {"lake": lake, "corpus": {"videos": videos}, "patches": patches, "features": products})


FUSED = ["motion", "edges", "flow", {"kind": "hf", "path": "vit", "name": "vit"}]


def test_pixels_three_classical_and_a_deep_feature_decode_each_frame_once(corpus: Path) -> None:
    done = ingested(corpus, "fused", "short", FUSED)
    assert {r.product for result in done.results for r in result.receipts} == {
        "pixels",
        "motion",
        "edges",
        "flow",
        "vit",
    }
    assert (done.num_decoded, done.num_redecoded) == (31 + 17 + 9, 0)


def test_a_file_in_many_units_is_decoded_as_often_for_five_products_as_for_pixels_whose_context_is_none(
    corpus: Path,
) -> None:
    alone = ingested(corpus, "alone", "long", [])
    fused = ingested(corpus, "cut", "long", ["edges", "color", "hog", FUSED[-1]])  # none wants context frames
    assert len(fused.plan.units) > 1
    assert fused.num_decoded == alone.num_decoded
