"""A unit on a worker: whole shards in the lake, and receipts of exactly what they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numbered_clips as clips
import numpy as np
import pytest
import xxhash
from one_video import Planned, plan_video

from patchlake.tasks import features
from patchlake.tasks.types import PIXELS, PoisonPiece, UnitResult
from patchlake.tasks.unit import poison_units
from patchlake.tasks.unit.extract import extract_unit, try_unit
from patchlake.tasks.unit.worker_state import worker_state_of

ONE_EACH = ["edges", "motion"]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    return plan_video(tmp_path, num_frames=40, features=ONE_EACH)


def shards(planned: Planned) -> dict[str, bytes]:
    """Return what lies in the arrays' shards."""
    files = (planned.job.lake.path / "arrays.zarr").glob("*/*/c/*/0/0/0")
    return {str(path): path.read_bytes() for path in files}


def without_seconds(result: UnitResult) -> UnitResult:
    return replace(result, receipts=tuple(replace(r, seconds={}) for r in result.receipts), seconds=0.0)


def test_every_frame_is_stored_and_features_are_their_extractors_own(planned: Planned) -> None:
    extract_unit(planned.job, planned.unit)
    frames = planned.array("pixels/frames")
    assert clips.numbers_of(frames[:40]) == list(range(40))
    assert not frames[40:].any()
    for entry in planned.job.entries:
        one = features.build(entry, patches=planned.job.patches, frame_size=planned.job.frames.size)
        alone = one(np.concatenate([frames[:1]] * one.context_frames[0] + [frames[:40]]))
        stored = planned.array(f"{entry.name}/features")
        assert np.array_equal(stored[: len(alone)], alone)
        assert not stored[len(alone) :].any()


def test_receipts_hold_the_checksums_of_what_is_stored(planned: Planned) -> None:
    result = extract_unit(planned.job, planned.unit)
    assert [receipt.product for receipt in result.receipts] == list(planned.unit.products)
    for receipt in result.receipts:
        product = planned.job.products[receipt.product]
        stored = planned.array(f"{product.name}/{product.array}")
        assert sum(piece.num_rows for piece in receipt.pieces) == 40 // product.time_stride
        for piece in receipt.pieces:
            rows = np.ascontiguousarray(stored[piece.row_start : piece.row_start + piece.num_rows])
            assert piece.checksum == xxhash.xxh3_64_intdigest(rows.data)
    written = sum(receipt.num_bytes for receipt in result.receipts)
    assert written == sum(map(len, shards(planned).values()))
    assert (result.num_decoded, result.num_redecoded) == (40, 0)


def test_a_second_time_writes_the_same_bytes_to_the_same_place(planned: Planned) -> None:
    first = extract_unit(planned.job, planned.unit)
    held = shards(planned)
    again = extract_unit(planned.job, planned.unit)
    assert shards(planned) == held
    assert without_seconds(again) == without_seconds(first)


def test_a_trial_stores_nothing(planned: Planned) -> None:
    try_unit(planned.job, planned.unit)
    assert shards(planned) == {}


def test_the_pieces_of_a_unit_are_units_of_their_own_for_a_trial(planned: Planned) -> None:
    units = poison_units.pieces_of(planned.unit)
    assert [unit.slots for unit in units] == [(0,), (1,), (2,)]
    for unit in units:
        try_unit(planned.job, unit)


def test_a_poisonous_piece_is_padding_and_the_others_are_stored(planned: Planned) -> None:
    names = ("pixels/frames", "edges/features", "motion/features")
    ((piece,),) = planned.unit.pieces[1:2]
    bad = PoisonPiece(span_key=piece.span_key, row_start=piece.row_start, reason="memory", message="too large")
    result = extract_unit(planned.job, replace(planned.unit, poison_pieces=(bad,)))
    assert [(f.num_rows, f.reason, f.message) for f in result.frames] == [
        (16, None, ""), (0, "memory", "too large"), (8, None, ""),
    ]  # fmt: skip
    without = {name: planned.array(name) for name in names}
    whole = extract_unit(planned.job, planned.unit)
    for name, found in without.items():
        stride = 1 if name == "pixels/frames" else 4
        rows = np.arange(16 // stride, 32 // stride)
        assert not found[rows].any()
        assert np.array_equal(np.delete(found, rows, axis=0), np.delete(planned.array(name), rows, axis=0))
    for receipt, full in zip(result.receipts, whole.receipts, strict=True):
        assert [p.num_rows > 0 for p in receipt.pieces] == [True, False, True]
        assert receipt.pieces[0] == full.pieces[0]


def test_a_unit_of_poison_alone_reads_nothing(planned: Planned) -> None:
    bad = tuple(
        PoisonPiece(span_key=p.span_key, row_start=p.row_start, reason="crash", message="x")
        for (p,) in planned.unit.pieces
    )
    result = extract_unit(planned.job, replace(planned.unit, poison_pieces=bad))
    assert result.num_decoded == 0
    assert {receipt.seconds["decode"] for receipt in result.receipts} == {0.0}
    assert shards(planned) == {}, "shards of padding alone are no files"


def test_time_is_booked_once(planned: Planned) -> None:
    pixels, *others = extract_unit(planned.job, planned.unit).receipts
    assert pixels.product == PIXELS
    assert pixels.seconds["decode"] > 0
    assert pixels.seconds["compute"] == 0
    for receipt in others:
        assert receipt.seconds["decode"] == 0
        assert receipt.seconds["compute"] > 0
        assert receipt.seconds["write"] > 0


def test_a_worker_keeps_the_extractors_that_the_next_job_wants_too(planned: Planned) -> None:
    first = dict(worker_state_of(planned.job).extractors)
    assert worker_state_of(planned.job).extractors == first
    edges_alone = replace(planned.job, key="another", entries=planned.job.entries[:1])
    assert worker_state_of(edges_alone).extractors == {"edges": first["edges"]}
    digests = {name: replace(p, key={**p.key, "model": 2}) for name, p in planned.job.products.items()}
    other_model = replace(planned.job, key="third", products=digests)
    assert worker_state_of(other_model).extractors["edges"] is not first["edges"]
