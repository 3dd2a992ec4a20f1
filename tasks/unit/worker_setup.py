"""What each worker process does once, before any unit."""

from __future__ import annotations

import os

import cv2
import zarr

from patchlake.tasks.lake.zarr_config import ZARRS
from patchlake.tasks.unit import extract  # noqa: F401  imported now, so that no unit waits for it
from patchlake.tasks.video.decoder import limit_decoder
from patchlake.tasks.video.limits import Limits


def setup(limits: Limits | None = None) -> None:
    """Set this process up: one thread per library, since there is a process per core, and the same bytes every time."""
    cv2.setNumThreads(1)
    _switch_ipp_off()
    zarr.config.set(ZARRS)
    limit_decoder(limits or Limits())


def _switch_ipp_off() -> None:
    """Do without Intel's IPP: its last bits depend on where in memory an array lies, and on the processor.

    OpenCV's own switch holds for one thread, and units run in another one than this: the environment variable holds
    for all, if it is set before IPP is first used.
    """
    os.environ["OPENCV_IPP"] = "disabled"
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it would warn that it is switched off
    cv2.ipp.setUseIPP(False)
    cv2.utils.logging.setLogLevel(level)
