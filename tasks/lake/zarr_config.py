"""Which codec pipeline reads and writes: zarrs for values; zarr-python for strings and resizing, beyond zarrs."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import zarr

ZARRS = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.strict": True,
    "threading.max_workers": 1,  # with more threads a shard's bytes differ from run to run
}
PLAIN = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
_SETTING = threading.RLock()


@contextlib.contextmanager
def zarr_settings(settings: dict[str, Any]) -> Iterator[None]:
    """Apply zarr settings within a context, one thread at a time. Arrays keep the settings they were opened with.

    `zarr.config.set` is global: of two contexts that overlap in time, one's settings would stay in effect.
    """
    with _SETTING, zarr.config.set(settings):
        yield


@contextlib.contextmanager
def opening(settings: dict[str, Any]) -> Iterator[None]:
    """Apply zarr settings while arrays are opened; suppresses zarrs' warning that it reconstructs a store."""
    with zarr_settings(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Successfully reconstructed a store")
        yield
