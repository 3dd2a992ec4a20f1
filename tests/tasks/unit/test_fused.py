"""One decode feeds every product: how many source frames are decoded does not depend on how many products there are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
import small_networks as deep
import torch
import transformers
from in_process import Ingested, ingest
from one_video import plan_video

from patchlake.tasks.features import Extractor
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.worker_state import worker_state_of


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


DEEP = {"kind": "hf", "path": "vit", "name": "vit", "every": 16, "batch": 5}


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many pictures the network saw, call by call."""
    real, found = transformers.ViTModel.forward, list[int]()

    def forward(self: Any, pixel_values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found.append(len(pixel_values)) if pixel_values.device.type != "meta" else None
        return real(self, pixel_values, *args, **kwargs)

    monkeypatch.setattr(transformers.ViTModel, "forward", forward)
    return found


def test_files_that_share_a_slot_share_the_network_s_batch(corpus: Path, sizes: list[int]) -> None:
    more = {"patches": {"size": [16, 16, 16]}, "units": {"slot_frames": 128, "slots": 1}}
    done = ingest(corpus, {"lake": "shared", "corpus": {"videos": "short"}, "features": [DEEP, "edges"], **more})
    assert sizes == [5], "2 + 2 + 1 rows of three files"
    (unit,) = done.plan.units
    (receipt,) = [r for r in done.results[0].receipts if r.product == "vit"]
    assert [piece.num_rows for piece in receipt.pieces] == [
        -(-piece.num_rows // 16) for slot in unit.pieces for piece in slot
    ]
    pixels, tokens = done.array("pixels/frames"), done.array("vit/features")
    extractor = deep.build(deep.spec(corpus, "vit", every=16, batch=5, dtype="float16"), pixels.shape[1:3])
    for piece in unit.pieces[0]:
        alone = extractor(pixels[piece.row_start : piece.row_start + piece.num_rows])
        np.testing.assert_array_equal(tokens[piece.row_start // 16 :][: len(alone)], alone)


def test_a_worker_keeps_models_from_job_to_job_while_they_are_the_same(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "vit", tmp_path / "vit")

    def extracted(name: str) -> tuple[Extractor, np.ndarray]:
        (tmp_path / name).mkdir()
        planned = plan_video(tmp_path / name, features=[{**DEEP, "path": str(tmp_path / "vit")}])
        extract_unit(planned.job, planned.unit)
        return worker_state_of(planned.job).extractors["vit"], planned.array("vit/features")

    kept, _ = extracted("one")
    again, first = extracted("two")
    assert again is kept
    torch.manual_seed(1)
    transformers.ViTModel(transformers.ViTConfig.from_pretrained(tmp_path / "vit")).save_pretrained(tmp_path / "vit")
    another, other = extracted("three")
    assert another is not kept, "another model in the same place"
    assert not np.array_equal(first, other)
