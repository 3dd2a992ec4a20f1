"""The lake on disk or in a bucket: arrays, tables, digest; `open_lake` opens it for reading."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchlake.tasks.lake.reading import Lake

__all__ = ["open_lake"]


def open_lake(place: str | os.PathLike[str]) -> Lake:
    """Return the lake at LAKE/NAME, a folder or an s3:// URL, for reading.

    Raises RecipeError if there is no lake.
    """
    from patchlake.tasks.lake.arrays import existing_lake  # here, since workers write lakes without xarray
    from patchlake.tasks.lake.reading import Lake

    return Lake(existing_lake(os.fspath(place)))
