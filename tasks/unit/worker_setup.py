"""Set-up that each worker process does once, before any unit."""

from __future__ import annotations

import os

import cv2
import zarr

from patchlake.tasks.lake.zarr_config import ZARRS
from patchlake.tasks.unit import extract  # noqa: F401  imported now, so that no unit pays for it
from patchlake.tasks.video.decoder import limit_decoder
from patchlake.tasks.video.limits import Limits


def setup(limits: Limits | None = None) -> None:
    """Set up this process: one thread per library, since there is one process per core; reproducible bytes."""
    cv2.setNumThreads(1)
    _switch_ipp_off()
    zarr.config.set(ZARRS)
    limit_decoder(limits or Limits())


def _switch_ipp_off() -> None:
    """Disable Intel's IPP: its last bits depend on an array's address in memory, and on the processor.

    OpenCV's own switch applies to one thread, and units run in a different one; the environment variable applies to
    all, if it is set before IPP is first used.
    """
    os.environ["OPENCV_IPP"] = "disabled"
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it would warn that IPP is disabled
    cv2.ipp.setUseIPP(False)
    cv2.utils.logging.setLogLevel(level)
