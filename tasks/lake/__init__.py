"""The lake on disk or in a bucket: arrays, tables, digest; and, for those who read it, `open_lake`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchlake.tasks.lake.reading import Lake

__all__ = ["open_lake"]


def open_lake(place: str | os.PathLike[str]) -> Lake:
    """Return the lake at LAKE/NAME, a folder or an s3:// URL, to read from.

    Raises RecipeError where no run has made one.
    """
    from patchlake.tasks.lake.arrays import existing_lake  # workers write lakes, and need no xarray for it
    from patchlake.tasks.lake.reading import Lake

    return Lake(existing_lake(os.fspath(place)))
