"""What each worker process does once, before any unit."""

from __future__ import annotations

import cv2
import zarr

from patchlake.tasks import extract  # noqa: F401  so that no unit pays for importing what it needs
from patchlake.tasks.decode import limit_decoder
from patchlake.tasks.lake.arrays import ZARRS
from patchlake.tasks.process import Limits


def setup(limits: Limits | None = None) -> None:
    """One thread per library, since processes are the grain; and only what gives the same bytes every time."""
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)  # its last bits depend on where in memory an array lies, and on the processor
    zarr.config.set(ZARRS)
    limit_decoder(limits or Limits())
