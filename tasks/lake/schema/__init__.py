"""One entry per table of the lake: columns and types, conversion of values to rows and back, what the digest covers.

To add a column: its entry here, and the attribute (or the producer's key) that fills it. To add a table: an entry
here, and a line in `ALL` and in `patchlake.tasks.lake.tables.Tables`.
"""

from __future__ import annotations

from patchlake.tasks.lake.schema.columns import Row, TableSchema
from patchlake.tasks.lake.schema.receipts import FAILURES, RECEIPTS, RUNS, failure_row, receipt_row
from patchlake.tasks.lake.schema.regions import REGIONS
from patchlake.tasks.lake.schema.sources import ANNOTATIONS, SOURCES, annotation_rows, source_of, source_row
from patchlake.tasks.lake.schema.spans import CLIPS, SPANS, clip_row, placement_of, placement_row
from patchlake.tasks.lake.schema.tracks import TRACK_BOXES, TRACKS, box_rows, path_of, paths_of, track_row
from patchlake.tasks.lake.schema.videos import VIDEOS, video_of, video_row

ALL = (
    SOURCES, VIDEOS, TRACKS, TRACK_BOXES, SPANS, CLIPS, REGIONS, ANNOTATIONS, RECEIPTS, FAILURES, RUNS,
)  # fmt: skip
"""Every table, in the order of upkeep."""

__all__ = [
    "ALL",
    "ANNOTATIONS",
    "CLIPS",
    "FAILURES",
    "RECEIPTS",
    "REGIONS",
    "RUNS",
    "SOURCES",
    "SPANS",
    "TRACKS",
    "TRACK_BOXES",
    "VIDEOS",
    "Row",
    "TableSchema",
    "annotation_rows",
    "box_rows",
    "clip_row",
    "failure_row",
    "path_of",
    "paths_of",
    "placement_of",
    "placement_row",
    "receipt_row",
    "source_of",
    "source_row",
    "track_row",
    "video_of",
    "video_row",
]
