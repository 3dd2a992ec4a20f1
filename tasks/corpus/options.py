"""The recipe's `corpus`: which videos, and where their labels come from."""

from __future__ import annotations

from typing import Literal

from patchlake.tasks.strict import LocalPath, Strict


class Corpus(Strict):
    """Which videos, and where their labels come from."""

    videos: LocalPath
    """A file, a folder (recursive), a glob, an s3:// prefix; or a manifest (.csv, .parquet, .json) with the column uri
    and any of label, split, group, start, stop, box, target."""
    labels: Literal["folder", "column", "none"] = "none"
    """folder: the parent folder's name; column: the manifest's label; none."""
