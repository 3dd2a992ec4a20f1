"""Values become rows of the tables and come back; each table is an attribute of `Tables`."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest

from patchlake.tasks.lake import schema
from patchlake.tasks.lake.schema import Row, TableSchema
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.types import BoxPath, PieceFrames, PieceReceipt, Placement, Receipt, Source, Span, Track, Video

VIDEO = Video(
    video_id="v", container="matroska,webm", codec="h264", pixel_format="yuv420p", width=64, height=48, rotation=90,
    sample_aspect=Fraction(16, 15), fps=Fraction(30000, 1001), time_base=Fraction(1, 90000), num_frames=7,
    num_frames_from_header=8, first_pts=450, duration_seconds=0.25, duration_seconds_from_header=0.3,
    variable_rate=True, counted=False, num_video_streams=1, has_audio=True,
)  # fmt: skip
SPAN = Span(
    span_key="s", track_id="t", video_id="v", start_seconds=0.5, stop_seconds=2.0, num_rows=40, first_grid_row=12,
    pts=b"pts", key_pts=b"keys", stop_pts=None,
)  # fmt: skip
STILL = BoxPath(name="still", boxes=((1.0, 2.0, 3.0, 4.0),))
MOVING = BoxPath(name="moving", seconds=(0.0, 1.5), boxes=((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)))


def stored(table: TableSchema, *rows: Row) -> list[Row]:
    """Return rows as Arrow gives them back."""
    found: list[Row] = pa.Table.from_pylist(list(rows), schema=table.arrow).to_pylist()
    return found


def test_sources_and_videos_come_back() -> None:
    source = Source(uri="/a b.mp4", size=3, version="17", label="x", split="test", status="failed", reason="timeout")
    (row,) = stored(schema.SOURCES, schema.source_row(source, "v"))
    assert row["video_id"] == "v"
    assert schema.source_of(row) == source
    (row,) = stored(schema.VIDEOS, schema.video_row(VIDEO))
    assert schema.video_of(row) == VIDEO
    assert (row["fps"], row["first_pts_seconds"]) == (float(VIDEO.fps), 0.005)


@pytest.mark.parametrize("path", [None, STILL, MOVING], ids=["frame", "still", "moving"])
def test_boxes_of_tracks_come_back(path: BoxPath | None) -> None:
    track = Track(track_id="t", video_id="v", boxes=path)
    (row,) = stored(schema.TRACKS, schema.track_row(4, track, None))
    boxes = stored(schema.TRACK_BOXES, *schema.box_rows(4, track))
    assert schema.path_of(row, boxes) == path
    assert schema.paths_of([row], boxes) == {4: path}


def test_placements_come_back() -> None:
    placement = Placement(span=SPAN, track=4, row_start=64)
    (row,) = stored(schema.SPANS, schema.placement_row(placement))
    assert schema.placement_of(row) == placement


def test_a_receipt_has_a_value_per_piece_and_null_for_a_time_that_nobody_took() -> None:
    pieces = (PieceReceipt(span_key="s", slot=2, row_start=64, num_rows=30, checksum=255, ticks=b""),)
    receipt = Receipt(
        unit_id="u", product="edges", product_digest="d", slots=(2,), pieces=pieces, num_bytes=9, seconds={"write": 0.5}
    )
    (row,) = stored(schema.RECEIPTS, schema.receipt_row(receipt))
    assert (row["span_keys"], row["slots"], row["row_starts"], row["num_rows"]) == (["s"], [2], [64], [30])
    assert row["checksums"] == ["00000000000000ff"]
    assert (row["decode_seconds"], row["write_seconds"], row["wait_seconds"]) == (None, 0.5, 0.0)


@pytest.mark.parametrize(("row_start", "planned"), [(64, 32), (96, 8)])
def test_a_failure_knows_how_many_rows_its_slot_should_have(row_start: int, planned: int) -> None:
    placement = Placement(span=SPAN, track=4, row_start=64)
    piece = PieceFrames(span_key="s", row_start=row_start, num_rows=3, ticks=b"", pts=b"", reason="truncated")
    (row,) = stored(schema.FAILURES, schema.failure_row(piece, placement, slot_frames=32))
    assert (row["num_rows"], row["num_rows_planned"], row["reason"]) == (3, planned, "truncated")


def test_each_table_is_an_attribute_and_a_misspelt_one_is_none(tmp_path: Path) -> None:
    tables = Tables(Location(str(tmp_path)))
    for table in schema.ALL:
        assert getattr(tables, table.name).name == table.name
        assert tables.open(table) is getattr(tables, table.name), "opened once"
    assert [table.name for table in tables] == [table.name for table in schema.ALL]
    assert not hasattr(tables, "clip")


def test_a_row_needs_every_column() -> None:
    with pytest.raises(AttributeError):
        schema.SPANS.row(replace(SPAN))  # neither track nor row_start is given
