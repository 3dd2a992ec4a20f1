"""Tables of a lake that earlier code wrote, which lack columns of today."""

from __future__ import annotations

from pathlib import Path

import clips
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from ingesting import ingest

from patchlake.tasks.lake.digest import digest
from patchlake.tasks.lake.location import Location
from patchlake.tasks.lake.tables import Tables

NEW = "wait_seconds"
RECIPE = {"corpus": {"videos": "videos"}, "features": ["edges"], "patches": {"size": [8, 16, 16]}}


def without_new_column(lake: Location) -> None:
    """Make `receipts` as the code before that column left it."""
    table = DeltaTable(str(lake / "tables" / "receipts"))
    old = table.to_pyarrow_table().drop_columns([NEW])
    write_deltalake(table, old, mode="overwrite", schema_mode="overwrite")


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
