"""Quantiles of a product's channels from 4,096 fixed bins: counts add up exactly, in any order.

A bin is given by the top 12 bits of a float16: sign, exponent, 6 bits of the fraction. So bins are the same for any
data, and their width is 1/64 of their power of two: a bin's middle is off by at most 1/128 of the value for
6.1e-5 <= |x| < 65536. Closer to zero, bins are 2^-20 wide (the middle is off by at most 4.8e-7); the end bins hold
finite values of 65536 and beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.reductions.reduction import ReductionOptions, SampledCells, State
from patchlake.tasks.types import FloatArray, IntArray

if TYPE_CHECKING:
    import xarray as xr

    from patchlake.tasks.canvas import Picture

NUM_BINS = 4096
HALF = NUM_BINS // 2
FRACTION_BITS = 6
OVERFLOW = 31 << FRACTION_BITS
"""Bin, by magnitude, of values too large for a float16; later bins stay empty."""
LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
MAX_CHANNELS = 10_000
BLOCK = 1 << 20
"""Number of values counted at a time."""
MAX_BOXES = 24
"""Maximum channels drawn as boxes; more are drawn as bands."""


class QuantilesOptions(ReductionOptions):
    """Quantiles of each channel of a product, over every stored cell."""

    kind: Literal["quantiles"]


@dataclass(frozen=True)
class Quantiles:
    """Counts of values in fixed bins, and quantiles derived from them."""

    options: QuantilesOptions
    version = 1
    heading = "Quantiles"

    def chunk(self, values: npt.NDArray[np.floating]) -> State:
        """Return counts (channel, bin) of finite values, and the number of non-finite ones (channel,)."""
        channels = values.shape[1]
        if channels > MAX_CHANNELS:
            raise RecipeError(f"reduce {self.options.name}: got {channels} channels, expected at most {MAX_CHANNELS}")
        counts = np.zeros(channels * NUM_BINS, np.int64)
        finite = np.zeros(channels, np.int64)
        rows = max(1, BLOCK // channels)
        for first in range(0, len(values), rows):
            block = values[first : first + rows].astype(np.float32)
            known = np.isfinite(block)
            finite += known.sum(axis=0)
            place = bin_of(np.where(known, block, 0)) + NUM_BINS * np.arange(channels)
            counts += np.bincount(place[known], minlength=len(counts))
        return {"counts": counts.reshape(channels, NUM_BINS), "non_finite": len(values) - finite}

    def combine(self, a: State, b: State) -> State:
        """Return the sums of both states."""
        return {name: a[name] + b[name] for name in a}

    def finalize(self, state: State, channels: Sequence[str]) -> xr.Dataset:
        """Return quantiles (level, channel), NaN for a channel without finite values, and the counts themselves.

        A quantile is the middle of the bin that holds the value of rank ceil(level * n), like numpy's "inverted_cdf".
        """
        import xarray as xr

        low, high = edges()
        return xr.Dataset(
            {
                "quantiles": (("level", "channel"), quantiles(state["counts"], LEVELS)),
                "counts": (("channel", "bin"), state["counts"]),
                "non_finite": (("channel",), state["non_finite"]),
            },
            coords={"level": list(LEVELS), "low": ("bin", low), "high": ("bin", high)},
            attrs={
                "count": int(state["counts"][0].sum() + state["non_finite"][0]),
                "channel_names": list(channels),
            },
        )

    def figures(self, result: xr.Dataset) -> dict[str, int]:
        """Return the number of cells, and of values that are NaN or infinite."""
        return {"cells": int(result.attrs["count"]), "non-finite values": int(result["non_finite"].sum())}

    def picture(self, result: xr.Dataset, cells: SampledCells) -> Picture | None:
        """Return a box per channel, or bands over many channels; None if no value is finite."""
        return _picture(result, cells.product)


def bin_of(values: npt.NDArray[np.float32]) -> IntArray:
    """Return the bin of each finite value; bins ascend with the values they hold."""
    magnitude = np.abs(values)
    exponent = (magnitude.view(np.uint32) >> 23).astype(np.int64) - 127
    fraction = (magnitude.view(np.uint32) >> (23 - FRACTION_BITS)).astype(np.int64) & 63
    near_zero = (np.minimum(magnitude, np.float32(2.0**-14)) * np.float32(2.0**20)).astype(np.int64)
    coded = np.where(exponent < -14, near_zero, ((exponent + 15) << FRACTION_BITS) + fraction)
    coded = np.minimum(coded, OVERFLOW)
    return np.where(values < 0, HALF - 1 - coded, HALF + coded)


def edges() -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper edge of each bin; NaN for bins beyond float16's range."""
    code = np.arange(HALF)
    exponent, fraction = code >> FRACTION_BITS, code & 63
    near = np.where(exponent == 0, fraction * 2.0**-20, (1 + fraction / 64) * 2.0 ** (exponent - 15.0))
    far = near + 2.0 ** (np.maximum(exponent, 1) - 15.0 - FRACTION_BITS)
    far[OVERFLOW] = np.inf
    near[OVERFLOW + 1 :], far[OVERFLOW + 1 :] = np.nan, np.nan
    return np.concatenate([-far[::-1], near]), np.concatenate([-near[::-1], far])


def quantiles(counts: IntArray, levels: Sequence[float]) -> FloatArray:
    """Return (level, channel) quantiles of counts (channel, bin): the bin's middle; for an end bin its inner edge."""
    low, high = edges()
    middle = (low + high) / 2
    middle[HALF + OVERFLOW], middle[HALF - 1 - OVERFLOW] = low[HALF + OVERFLOW], high[HALF - 1 - OVERFLOW]
    found = np.full((len(levels), len(counts)), np.nan)
    for channel, row in enumerate(counts):
        sums = np.cumsum(row)
        if total := int(sums[-1]):
            ranks = np.clip(np.ceil(np.asarray(levels) * total), 1, total)
            found[:, channel] = middle[np.searchsorted(sums, ranks)]
    return found


def _picture(result: xr.Dataset, product: str) -> Picture | None:
    from patchlake.tasks import canvas  # imports matplotlib

    found = result["quantiles"].sel(level=[0.05, 0.25, 0.5, 0.75, 0.95]).values
    names = [str(name) for name in result.attrs["channel_names"]]
    if not np.isfinite(found).any():
        return None
    figure = canvas.blank(canvas.WIDTH, 3.4)
    ax = canvas.axes(figure, 0.8, 0.75, canvas.WIDTH - 1.0, 2.5)
    if len(names) <= MAX_BOXES:
        keys = ("whislo", "q1", "med", "q3", "whishi")
        boxes: list[Any] = [dict(zip(keys, column, strict=True)) for column in found.T]
        paint = {"color": canvas.COLOURS[0], "linewidth": 1.2}
        ax.bxp(
            boxes, showfliers=False, widths=0.5, boxprops=paint, whiskerprops=paint, capprops=paint,
            medianprops={**paint, "color": canvas.COLOURS[1]},
        )  # fmt: skip
        tilt: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(names) > 8 else {}
        ax.set_xticks(range(1, len(names) + 1), [canvas.short(name, 16) for name in names], **tilt)
        shown = "boxes: the middle half; lines: 5 % to 95 %; across: the median"
    else:
        numbers = np.arange(len(names))
        ax.fill_between(numbers, found[0], found[4], color=canvas.GRID)
        ax.fill_between(numbers, found[1], found[3], color=canvas.PALE)
        ax.plot(numbers, found[2], color=canvas.COLOURS[0], linewidth=0.8)
        ax.set_xlabel("channel")
        shown = "dark: the middle half; light: 5 % to 95 %; line: the median"
    ax.yaxis.grid(True)
    ax.set_ylabel("value")
    count, lost = int(result.attrs["count"]), int(result["non_finite"].sum())
    caption = f"Values of all {count:,} cells of {product} by channel, {shown}. {lost:,} values are NaN or infinite."
    return canvas.picture(figure, caption, title=f"Quantiles of {product}")
