"""Tables of a lake: many commits in a row, two who write, and those of earlier code, which lack columns of today."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numbered_clips as clips
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from in_process import ingest

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.digest import digest
from patchlake.tasks.lake.table import COMPACT_FILES
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

NEW = "wait_seconds"
RECIPE = {"corpus": {"videos": "videos"}, "features": ["edges"], "patches": {"size": [8, 16, 16]}}


def without_new_column(lake: Location) -> None:
    """Make `receipts` as the code before that column left it."""
    table = DeltaTable(str(lake / "tables" / "receipts"))
    old = table.to_pyarrow_table().drop_columns([NEW])
    write_deltalake(table, old, mode="overwrite", schema_mode="overwrite")


def box(number: int) -> dict[str, float]:
    return {"track": number, "seconds": number / 25, "x": 0.0, "y": 0.0, "width": 8.0, "height": 8.0}


def test_files_stay_few_over_many_appends(tmp_path: Path) -> None:
    table = Tables(Location(str(tmp_path))).track_boxes
    for number in range(3 * COMPACT_FILES):
        table.append([box(number)])
        assert table.delta is not None
        assert len(table.delta.file_uris()) <= 2 * COMPACT_FILES
    assert len(table.delta.file_uris()) < COMPACT_FILES, "the third look joined them"
    rows = Tables(Location(str(tmp_path))).track_boxes.rows()
    assert sorted(rows, key=lambda row: row["track"]) == [box(number) for number in range(3 * COMPACT_FILES)]


@pytest.mark.parametrize("at", [1, COMPACT_FILES - 1, COMPACT_FILES])
def test_a_second_writer_is_refused_whenever_it_came(tmp_path: Path, at: int) -> None:
    lake = Location(str(tmp_path))
    first = Tables(lake).track_boxes
    for number in range(at):
        first.append([box(number)])
    Tables(lake).track_boxes.append([box(1000)])
    for _ in range(2):
        with pytest.raises(LakeError, match="another coordinator has written here"):
            first.append([box(at)])
    assert len(Tables(lake).track_boxes.rows()) == at + 1


def test_a_second_writer_is_noticed_where_the_table_is_tended(tmp_path: Path) -> None:
    first = Tables(Location(str(tmp_path))).track_boxes
    first.append([box(0)])
    Tables(Location(str(tmp_path))).track_boxes.append([box(1)])
    with pytest.raises(LakeError, match="another coordinator has written here"):
        first.tend()


def test_a_table_is_opened_anew_now_and_then(tmp_path: Path) -> None:
    table = Tables(Location(str(tmp_path))).track_boxes
    seen = []
    for number in range(COMPACT_FILES + 1):
        table.append([box(number)])
        seen.append(table.delta)
    assert [one is seen[0] for one in seen] == [True] * (COMPACT_FILES - 1) + [False] * 2


def test_tending_removes_what_nothing_refers_to_for_a_week(tmp_path: Path) -> None:
    table = Tables(Location(str(tmp_path))).track_boxes
    for number in range(2 * COMPACT_FILES):
        table.append([box(number)])
    folder = tmp_path / "tables" / "track_boxes"
    joined = set(folder.glob("*.parquet"))
    assert len(joined) == 2 * COMPACT_FILES + 1, "all are kept at first, for readers of older versions"
    young, old = folder / "part-young.parquet", folder / "part-old.parquet"
    for path, days in ((young, 0), (old, 30)):
        path.write_bytes(b"of a writer that was killed")
        then = time.time() - days * 24 * 3600
        os.utime(path, (then, then))
    table.tend()
    assert set(folder.glob("*.parquet")) == {*joined, young}
    assert len(Tables(Location(str(tmp_path))).track_boxes.rows()) == 2 * COMPACT_FILES


APPENDING = """
import sys
from patchlake.tasks.lake import table as one, tables
from patchlake.tasks.storage.location import Location

one.COMPACT_FILES = 3
table = tables.Tables(Location(sys.argv[1])).track_boxes
for number in range(int(sys.argv[2]), 1_000_000):
    table.append([{"track": number, "seconds": 0.0, "x": 0.0, "y": 0.0, "width": 8.0, "height": 8.0}])
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_while_it_joins_files_loses_nothing(tmp_path: Path) -> None:
    begun = 0
    for seed in range(4):
        command = [sys.executable, "-c", APPENDING, str(tmp_path), str(begun)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(random.Random(seed).uniform(0.2, 1.0))
            writer.kill()
            told = [int(line) for line in writer.stdout]
        last = told[-1] if told else begun
        found = sorted(row["track"] for row in Tables(Location(str(tmp_path))).track_boxes.rows())
        assert found in (list(range(last + 1)), list(range(last + 2))), "what it said, and at most one more"
        begun = len(found)


def test_a_lake_without_a_column_of_today_is_read_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=40, gop=12)
    done = ingest(tmp_path, RECIPE)
    before, rows = digest(done.lake), done.tables.receipts.rows()
    without_new_column(done.lake)

    old = Tables(done.lake).receipts
    assert old.rows() == [{**row, NEW: None} for row in rows]
    assert old.read([NEW, "product"]).column_names == [NEW, "product"]
    assert old.read([NEW]).to_pydict() == {NEW: [None] * len(rows)}
    assert old.read().schema.field(NEW).type == pa.float64()
    assert digest(done.lake) == before
    assert not old.overwrite(old.rows()), "nothing changed"

    clips.render(tmp_path / "videos" / "b.mp4", num_frames=20, gop=12)
    more = ingest(tmp_path, RECIPE)
    assert more.num_decoded == 20, "what was there is not done again"
    found = Tables(done.lake).receipts.rows()
    assert sorted(row[NEW] is None for row in found) == [False] * (len(found) - len(rows)) + [True] * len(rows)
    assert len(found) > len(rows)


def test_a_lake_without_a_column_of_today_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=20, gop=12)
    done = ingest(tmp_path, RECIPE)
    without_new_column(done.lake)
    old = Tables(done.lake).receipts
    kept = [row for row in old.rows() if row["product"] == "pixels"]
    assert old.overwrite(kept)
    assert Tables(done.lake).receipts.rows() == kept
