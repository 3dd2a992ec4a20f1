"""The table `regions`: one row per region of each window of a `regions` feature; see features/regions/rows.py."""

from __future__ import annotations

import pyarrow as pa

from patchlake.tasks.lake.schema.columns import INT, LONG, REAL, REALS, TEXT, TableSchema, content, layout

REGIONS = TableSchema(
    "regions",
    {
        "region_id": content(TEXT),
        "region_track": content(TEXT),
        "product": TEXT,
        "product_digest": TEXT,
        "track": layout(INT),
        "video_id": TEXT,
        "span_key": TEXT,
        "label": content(INT),
        "row_start": layout(LONG),
        "row_stop": layout(LONG),
        "start_seconds": content(REAL),
        "last_seconds": REAL,
        "stop_seconds": content(REAL),
        "area": content(REAL),
        "box": content(REALS),
        "source_box": REALS,
        "first_box": content(REALS),
        "last_box": content(REALS),
        "motion": REALS,
        "mean_rgb": content(REALS),
        "mean_feature": content(REALS),
        "overlaps": pa.map_(INT, REAL),
    },
)
