"""All paths in a lake, and the constants of its format. No other file contains a path of a lake.

LAKE/NAME/
  arrays.zarr/             ARRAYS; per product: frames or features, and its coordinates
  tables/TABLE/            `table`; Delta
  reductions/NAME.zarr/    `reduction`
  models/                  MODELS
  report/index.html        REPORT_PAGE
  .stage/                  STAGE; shards being written, never read
  .lock/000007.json        LOCK; who may write
"""

from __future__ import annotations

from patchlake.tasks.types import PIXELS

LAKE_FORMAT = 1
"""Attribute `lake_format` of the root group; lakes of another format are refused."""
COORDINATE_CHUNK_ROWS = 1 << 17
"""Chunk length of the index coordinates: 1M rows are read in 0.06 s; with chunks of 64 rows it takes 3 s."""

ARRAYS = "arrays.zarr"
ROOT_METADATA = f"{ARRAYS}/zarr.json"
"""The object that makes a folder a lake; it holds the shapes that readers see."""
FRAMES, FEATURES = "frames", "features"
"""Names of the array of `pixels` and of every other product."""
TRACK, SECONDS, PTS_SECONDS = "track", "seconds", "pts_seconds"
"""Index coordinates: one value per row."""
CELL_COORDINATES = ("y", "x", "channel")
STAGE = ".stage"
LOCK = ".lock"
MODELS = "models"
TRAINING_RESULT = f"{MODELS}/result.json"
REPORT_PAGE = "report/index.html"


def array_name(product: str) -> str:
    """Return the name of a product's array in its group."""
    return FRAMES if product == PIXELS else FEATURES


def values_path(product: str) -> str:
    """Return the path of a product's values below ARRAYS."""
    return f"{product}/{array_name(product)}"


def table(name: str) -> str:
    """Return the path of a table."""
    return f"tables/{name}"


def reduction(name: str) -> str:
    """Return the path of a reduction."""
    return f"reductions/{name}.zarr"
