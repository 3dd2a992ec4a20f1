"""What each worker process does once, before any unit."""

from __future__ import annotations

import cv2
import zarr

from patchlake.tasks import extract  # noqa: F401  so that no unit pays for importing what it needs
from patchlake.tasks.decode import get_decoder
from patchlake.tasks.lake.arrays import ZARRS


def setup() -> None:
    """One thread per library, since processes are the grain; the write path of bytes that never vary."""
    cv2.setNumThreads(1)
    zarr.config.set(ZARRS)
    get_decoder()
