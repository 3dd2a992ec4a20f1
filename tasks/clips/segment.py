"""From scores to time ranges: shots between cuts, and events where a score is high. Nothing is decoded.

Row i of (n,) scores is valid from its own time to the next row's, the last one to `stop_seconds`. Ranges are
[start, stop) in seconds, ascending and disjoint. Their bounds are row times, never computed, so clips are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.types import FloatArray

if TYPE_CHECKING:
    from patchlake.tasks.clips.scores import Scores
    from patchlake.tasks.clips.shots import Shots

Range = tuple[float, float]
Bools = npt.NDArray[np.bool_]

CHANNELS = {
    "content": "content_val", "adaptive": "content_val", "histogram": "hist_diff", "hash": "hash_dist",
    "fade": "average_rgb",
}  # fmt: skip
"""Detector -> the channel of `shot_score` that it reads."""
THRESHOLDS = {"content": 27.0, "adaptive": 3.0, "histogram": 0.2, "hash": 0.35, "fade": 12.0}
"""PySceneDetect's defaults."""
GRADUAL_SECONDS = 0.6
"""Length of the window over which a gradual change is summed."""
_SLACK = 1e-6
"""Tolerance in seconds: differences between rounded times are not exact."""


def shots(
    method: Shots, seconds: FloatArray, scores: Mapping[str, npt.NDArray[Any]], *, stop_seconds: float
) -> list[Range]:
    """Return the shots of a track: they tile [first time, stop_seconds), and each starts at its first frame's time.

    `scores` has the channels of `shot_score`, (n,) each, at ascending `seconds` (n,); CHANNELS lists which one is read.
    The rules are those of PySceneDetect's detectors, so the same thresholds give the same cuts. Its min_scene_len (in
    frames) is our `min_seconds`. `content` merges cuts closer than that, as PySceneDetect's FlashFilter does; the other
    detectors ignore a cut closer than that to the start or to the last cut. `gradual` is our addition: see `_gradual`.
    """
    values = np.asarray(scores[CHANNELS[method.detector]], dtype=np.float64)
    _check(seconds, values, stop_seconds)
    threshold = THRESHOLDS[method.detector] if method.threshold is None else method.threshold
    if method.detector == "fade":
        cuts = _fades(seconds, values, threshold, method.min_seconds)
    elif method.detector == "content":
        cuts = _merged(seconds, values >= threshold, method.min_seconds)
    elif method.detector == "adaptive":
        stands_out = _adaptive_ratio(values, method.window_frames, method.min_content) >= threshold
        cuts = _suppressed(seconds, stands_out & (values >= method.min_content), method.min_seconds)
    elif method.detector == "histogram":
        cuts = _suppressed(seconds, values <= 1 - threshold, method.min_seconds)
    else:
        cuts = _suppressed(seconds, values >= threshold, method.min_seconds)
    if method.gradual is not None:
        correlation = np.asarray(scores["hist_diff"], dtype=np.float64)
        cuts = cuts + _gradual(seconds, correlation, cuts, method.gradual, method.min_seconds)
    # A cut at the first frame would end an empty shot; a fade between the first two rows can give one.
    return _between(seconds, sorted({cut for cut in cuts if cut > 0}), stop_seconds)


def events(method: Scores, seconds: FloatArray, values: FloatArray, *, stop_seconds: float) -> list[Range]:
    """Return the events in (n,) values at ascending `seconds` (n,). NaN ends an event.

    threshold      value >= above, and value <= below if given
    hysteresis     value >= low, around at least one value >= high
    change_points  the stretches between changes of the mean; if above is given, those with a mean >= above

    First events at most `merge_seconds` apart are merged, whatever lies between; then those shorter than
    `min_seconds` are dropped.
    """
    values = np.asarray(values, dtype=np.float64)
    _check(seconds, values, stop_seconds)
    times = np.append(seconds, stop_seconds)
    if method.find == "threshold":
        runs = _runs(_within(values, method.above, method.below))
    elif method.find == "hysteresis":
        assert method.high is not None
        runs = [(a, b) for a, b in _runs(_within(values, method.low, None)) if (values[a:b] >= method.high).any()]
    else:
        runs = _constant(times, values, method)
    ranges = [(float(times[a]), float(times[b])) for a, b in runs]
    if method.merge_seconds:
        ranges = _joined(ranges, method.merge_seconds)
    return [(start, stop) for start, stop in ranges if stop - start >= method.min_seconds - _SLACK]


def pooled(features: npt.NDArray[Any], channels: tuple[str, ...], *, channel: str | None, pool: str) -> FloatArray:
    """Return (n,) values of one channel of (n, y, x, channel) features: the mean or max over y and x.

    Raises ValueError if the channel does not exist, or if none is named and there are several.
    """
    if channel is None and len(channels) > 1:
        raise ValueError(f"channel: got none, expected one of {', '.join(channels)}")
    if channel is not None and channel not in channels:
        raise ValueError(f"channel: got {channel!r}, expected one of {', '.join(channels)}")
    cells = features[..., 0 if channel is None else channels.index(channel)].astype(np.float64)
    out: FloatArray = cells.max(axis=(1, 2)) if pool == "max" else cells.mean(axis=(1, 2))
    return out


def _check(seconds: FloatArray, values: FloatArray, stop_seconds: float) -> None:
    if seconds.shape != values.shape or seconds.ndim != 1:
        raise ValueError(f"got values {values.shape} at seconds {seconds.shape}, expected (n,) both")
    if not (np.diff(np.append(seconds, stop_seconds)) > 0).all():
        raise ValueError("seconds: got times that don't ascend up to stop_seconds, expected those of one track's rows")


def _between(seconds: FloatArray, cuts: list[int], stop_seconds: float) -> list[Range]:
    if not len(seconds):
        return []
    times = [float(seconds[0]), *(float(seconds[cut]) for cut in cuts), float(stop_seconds)]
    return list(pairwise(times))


def _suppressed(seconds: FloatArray, above: Bools, min_seconds: float) -> list[int]:
    """Return the True rows that lie at least min_seconds after the start and after the last row returned."""
    cuts: list[int] = []
    last = seconds[0] if len(seconds) else 0.0
    for row in np.flatnonzero(above).tolist():
        if seconds[row] - last >= min_seconds - _SLACK:
            cuts.append(row)
            last = seconds[row]
    return cuts


def _merged(seconds: FloatArray, above: Bools, min_seconds: float) -> list[int]:
    """Return the True rows; those less than min_seconds apart are merged into the last of them.

    Like scenedetect.detector.FlashFilter in MERGE mode: a merge ends once min_seconds have passed without another True
    row and the merge itself has lasted min_seconds; before the first cut nothing merges; a merge still open at the end
    gives no cut.
    """
    if min_seconds <= 0:
        return [int(row) for row in np.flatnonzero(above)]
    cuts: list[int] = []
    last, merging_since, any_cut = 0, None, False
    for row, is_above in enumerate(above.tolist()):
        passed = seconds[row] - seconds[last] >= min_seconds - _SLACK
        last = row if is_above else last
        if merging_since is not None:
            if passed and not is_above and seconds[last] - seconds[merging_since] >= min_seconds - _SLACK:
                merging_since = None
                cuts.append(last)
        elif is_above and passed:
            any_cut = True
            cuts.append(row)
        elif is_above and any_cut:
            merging_since = row
    return cuts


def _adaptive_ratio(content: FloatArray, width: int, min_content: float) -> FloatArray:
    """Return AdaptiveDetector's ratio: each score over the mean of `width` scores on either side; 0 near the ends."""
    ratio = np.zeros(len(content))
    if len(content) < 2 * width + 1:
        return ratio
    windows = np.lib.stride_tricks.sliding_window_view(content, 2 * width + 1)
    around = np.delete(windows, width, axis=1).sum(axis=1) / (2.0 * width)
    score = content[width : len(content) - width]
    flat = np.abs(around) < 0.00001
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio[width : len(content) - width] = np.where(
            flat, np.where(score >= min_content, 255.0, 0.0), np.minimum(score / around, 255.0)
        )
    return ratio


def _fades(seconds: FloatArray, brightness: FloatArray, threshold: float, min_seconds: float) -> list[int]:
    """Return the rows midway between each fade out and the fade in after it, as ThresholdDetector does (fade_bias 0).

    A fade-in gives no cut if it comes less than min_seconds after the start or after the last fade-in that gave one.
    """
    dark = brightness < threshold
    cuts: list[int] = []
    out, last = 0, 0
    for row in (np.flatnonzero(np.diff(dark)) + 1).tolist():
        if dark[row]:
            out = row
        elif seconds[row] - seconds[last] >= min_seconds - _SLACK:
            cuts.append(out + round((row - out) / 2))
            last = row
    return cuts


def _gradual(
    seconds: FloatArray, correlation: FloatArray, cuts: list[int], threshold: float, min_seconds: float
) -> list[int]:
    """Return the rows in the middle of dissolves, wipes and fades: where brightness histograms change fastest.

    1 - correlation of consecutive frames is summed over GRADUAL_SECONDS around each frame. Of each run of sums that
    reach the threshold, the highest row is returned, unless another was less than min_seconds before it. Motion moves
    pixels but hardly changes a histogram, so this separates dissolves from motion better than sums of content_val
    (measured by benchmarks/shots.py). Known cuts are left out of the sums, and nothing within min_seconds of them is
    searched.
    """
    change = np.nan_to_num(1 - correlation)
    change[cuts] = 0
    sums = np.append(0, np.cumsum(change))
    start = np.searchsorted(seconds, seconds - (GRADUAL_SECONDS / 2 + _SLACK))
    stop = np.searchsorted(seconds, seconds + (GRADUAL_SECONDS / 2 - _SLACK))
    around = sums[stop] - sums[start]
    for cut in cuts:
        around[np.abs(seconds - seconds[cut]) < min_seconds - _SLACK] = 0
    highest = np.zeros(len(seconds), dtype=np.bool_)
    for first, end in _runs(around >= threshold):
        highest[first + int(np.argmax(around[first:end]))] = True
    return _suppressed(seconds, highest, min_seconds)


def _within(values: FloatArray, above: float | None, below: float | None) -> Bools:
    """Return where above <= value <= below; None: no bound on that side."""
    inside = ~np.isnan(values)
    if above is not None:
        inside &= values >= above
    if below is not None:
        inside &= values <= below
    return inside


def _runs(inside: Bools) -> list[tuple[int, int]]:
    """Return [first, stop) rows of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _constant(times: FloatArray, values: FloatArray, method: Scores) -> list[tuple[int, int]]:
    """Return [first, stop) rows of the stretches between change points; each run of finite values is treated alone.

    Values are scaled to unit variance, so that the penalty does not depend on their unit: a change is accepted if it
    lowers the sum of squared deviations from the stretches' means by more than `penalty`; the total sum is n.
    Source: ruptures.KernelCPD (linear kernel, PELT: exact); R. Killick et al., JASA 2012. Time is linear where changes
    are many and quadratic where there are none: at worst 40 s for an hour of frames.
    """
    from ruptures import KernelCPD  # half a second to import

    assert method.penalty is not None
    finite = np.isfinite(values)
    if not finite.any():
        return []
    spread, largest = values[finite].std(), np.abs(values[finite]).max()
    step = float(np.median(np.diff(times)))
    least = max(1, math.ceil(method.min_seconds / step - _SLACK))
    found: list[tuple[int, int]] = []
    for first, stop in _runs(finite):
        bounds = [0, stop - first]
        if spread > 1e-9 * largest and stop - first >= 2 * least:  # else only rounding varies
            scaled = (values[first:stop] - values[first:stop].mean()) / spread
            bounds = [0, *KernelCPD(kernel="linear", min_size=least).fit(scaled).predict(pen=method.penalty)]
        found += [(first + a, first + b) for a, b in pairwise(bounds)]
    return [(a, b) for a, b in found if method.above is None or values[a:b].mean() >= method.above]


def _joined(ranges: list[Range], gap_seconds: float) -> list[Range]:
    joined: list[Range] = []
    for start, stop in ranges:
        if joined and start - joined[-1][1] <= gap_seconds + _SLACK:
            start = joined.pop()[0]
        joined.append((start, stop))
    return joined
