"""What each worker process does once, before any unit."""

from __future__ import annotations

import os

import cv2
import zarr

from patchlake.tasks.lake.zarr_config import ZARRS
from patchlake.tasks.unit import extract  # noqa: F401  so that no unit pays for importing what it needs
from patchlake.tasks.video.decoder import limit_decoder
from patchlake.tasks.video.limits import Limits


def setup(limits: Limits | None = None) -> None:
    """One thread per library, since processes are the grain; and only what gives the same bytes every time."""
    cv2.setNumThreads(1)
    _switch_ipp_off()
    zarr.config.set(ZARRS)
    limit_decoder(limits or Limits())


def _switch_ipp_off() -> None:
    """Its last bits depend on where in memory an array lies, and on the processor.

    OpenCV keeps its own switch for each thread, and units do not run in the thread that sets workers up: the variable
    holds for all, as long as it is set before IPP is first used.
    """
    os.environ["OPENCV_IPP"] = "disabled"
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else it warns that it was switched off
    cv2.ipp.setUseIPP(False)
    cv2.utils.logging.setLogLevel(level)
