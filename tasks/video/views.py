"""Which decoded frames are shown, how often, and how. Runs only in the decoding child.

Several views of one decode may be requested: boxes of the same video, each with its own times.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from patchlake.tasks.video.scaler import Scaler

Shown = tuple[int, VideoFrame, int]
"""PTS, frame, and how many rows show it."""


class Times(Protocol):
    """Decides which frames are shown, and how often; frames come in display order."""

    is_done: bool
    """No later frame will be shown."""

    def take(self, pts: int, frame: VideoFrame) -> Shown | None:
        """Take the next frame; return what to show now."""

    def end(self, frame_pts: int) -> Shown | None:
        """The file has ended, its last frame lasts `frame_pts`; return what remains to be shown."""

    def missing(self) -> str | None:
        """After the file's end, return a sentence about what is missing; None if it is complete."""


class EveryFrame:
    """Native rate: every frame from `pts_lo` up to `pts_hi`, once."""

    def __init__(self, pts_lo: int, pts_hi: int | None) -> None:
        self._lo, self._hi = pts_lo, pts_hi
        self.is_done = False

    def take(self, pts: int, frame: VideoFrame) -> Shown | None:
        """Show the frame if it lies in the range."""
        if self._hi is not None and pts >= self._hi:
            self.is_done = True
            return None
        return None if pts < self._lo else (pts, frame, 1)

    def end(self, frame_pts: int) -> Shown | None:
        """Show nothing more."""

    def missing(self) -> str | None:
        """Return a sentence if the file ends before the expected frame."""
        if self._hi is None or self.is_done:
            return None
        return f"the file ends before PTS {self._hi}, which its packets promise"


class AtGridTimes:
    """Numeric rate: hold each frame until the next one comes, and show it at every grid time in between.

    Grid time k is k * den / num seconds after the first PTS.
    """

    def __init__(self, grid: list[int], tick: Fraction, first_pts: int) -> None:
        num, den, self._row, self._stop = grid
        self._up, self._down = tick.numerator * num, tick.denominator * den
        self._first_pts = first_pts
        self._held: tuple[int, VideoFrame] | None = None
        self.is_done = False

    def take(self, pts: int, frame: VideoFrame) -> Shown | None:
        """Show the frame held before at the grid times up to this one."""
        shown = self._until(self._rows_before(pts))
        self.is_done = self._row >= self._stop and self._held is not None
        self._held = pts, frame
        return shown

    def end(self, frame_pts: int) -> Shown | None:
        """The last frame stays for its duration."""
        if self._held is None:
            return None
        end = self._held[0] + (self._held[1].duration or frame_pts)
        is_short = self._rows_before(end + 1) < self._stop  # a plan in floats may end a tick late
        return self._until(self._rows_before(end) if is_short else self._stop)

    def missing(self) -> str | None:
        """Return a sentence if the file ends before the expected rows."""
        num_rows = self._stop - self._row
        return f"the file ends {num_rows} rows before its packets promise" if num_rows > 0 else None

    def _rows_before(self, pts: int) -> int:
        return min(self._stop, -((self._first_pts - pts) * self._up // self._down))

    def _until(self, row: int) -> Shown | None:
        if self._held is None or row <= self._row:
            return None
        times, self._row = row - self._row, row
        return *self._held, times


class View:
    """One of the views that a job requests."""

    def __init__(self, asked: dict[str, Any], job: dict[str, Any]) -> None:
        self.times: Times
        if asked["grid"]:
            self.times = AtGridTimes(asked["grid"], Fraction(job["time_base"]), job["first_pts"])
        else:
            self.times = EveryFrame(asked["pts_lo"], asked["pts_hi"])
        self._geometry: dict[str, Any] = asked["geometry"]
        self._scaler = Scaler(self._geometry)
        self._moves: list[list[Any]] = asked["moves"][::-1]

    def picture(self, pts: int, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return the frame on the frame grid, through the box at that time: (height, 3 * width); read it at once."""
        geometry = None
        while self._moves and self._moves[-1][0] <= pts:
            _, geometry = self._moves.pop()
        if geometry is not None:
            self._move(geometry)
        return self._scaler(frame)

    def _move(self, geometry: dict[str, Any]) -> None:
        x, y, *size = geometry["crop"]
        if geometry == {**self._geometry, "crop": geometry["crop"]} and size == self._geometry["crop"][2:]:
            self._scaler.move(x, y)
        else:
            self._scaler = Scaler(geometry)
        self._geometry = geometry
