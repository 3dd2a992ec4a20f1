"""Compact encoding of ascending timestamps, for receipts: first value, then differences, compressed."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import Any

import numpy as np

from patchlake.tasks.types import FloatArray, IntArray

_WIDTHS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)


def pack(pts: IntArray) -> bytes:
    """Return (n,) int64 timestamps as bytes: a constant rate takes tens of bytes, whatever n."""
    pts = np.asarray(pts, dtype=np.int64)
    if not pts.size:
        return b""
    steps = np.diff(pts)
    width = next(
        i for i, kind in enumerate(_WIDTHS)
        if not steps.size or (np.iinfo(kind).min <= steps.min() and steps.max() <= np.iinfo(kind).max)
    )  # fmt: skip
    return struct.pack("<Bq", width, int(pts[0])) + zlib.compress(steps.astype(_WIDTHS[width]).tobytes(), 6)


def unpack(packed: bytes) -> IntArray:
    """Return the (n,) int64 timestamps from the bytes of `pack`."""
    if not packed:
        return np.empty(0, dtype=np.int64)
    width, first = struct.unpack_from("<Bq", packed)
    steps = np.frombuffer(zlib.decompress(packed[9:]), dtype=_WIDTHS[width]).astype(np.int64)
    return np.concatenate([np.array([first], dtype=np.int64), first + np.cumsum(steps)])


def seconds_of(pts: IntArray, time_base: Fraction, *, first_pts: int = 0) -> FloatArray:
    """Return seconds from the first displayed frame, (n,) float64, each rounded once from the exact ratio."""
    ticks = (np.asarray(pts, dtype=np.int64) - first_pts) * time_base.numerator
    return ticks / np.float64(time_base.denominator)
