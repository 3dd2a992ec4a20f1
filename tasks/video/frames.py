"""The frames of a read range in order, from the decoder or from stored pixels.

Frames carry `ticks`: time from the first displayed frame in half steps of the clock (the stream's time base, or 1 / fps
on a grid of numeric rate), so that the centre of a window of frames is an integer, too.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from patchlake.tasks import pts, tracks
from patchlake.tasks.types import FrameArray, FrameGrid, FrameSource, Geometry, IntArray, ReadRange
from patchlake.tasks.video.decoder import Decoder, DecodeRequest

Block = tuple[FrameArray, IntArray]
"""Frames (n, height, width, 3), valid until the next block is requested, and their ticks (n,)."""
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Clock:
    """The planned tick of each row of a read range."""

    ticks: IntArray
    start: int
    stop_tick: int

    def at(self, row: int) -> int:
        """Return the tick of a row of the span; past the range, its end."""
        i = row - self.start
        return int(self.ticks[i]) if i < len(self.ticks) else self.stop_tick

    def misses_between(self, tick: int, later: int) -> bool:
        """Return whether a row was planned between the frames at two ticks."""
        first = int(np.searchsorted(self.ticks, tick, side="right"))
        return first < int(np.searchsorted(self.ticks, later, side="left"))


def clock_of(read_range: ReadRange, source: FrameSource, fps: Fraction | None) -> Clock:
    """Return the planned ticks of a range's rows."""
    if fps is None:
        planned = 2 * (pts.unpack(read_range.pts) - source.first_pts)
        end = NEVER if read_range.stop_pts is None else 2 * (read_range.stop_pts - source.first_pts)
    else:
        planned = 2 * (read_range.first_grid_row + np.arange(read_range.stop - read_range.start, dtype=np.int64))
        end = 2 * (read_range.first_grid_row + read_range.stop - read_range.start)
    return Clock(planned, read_range.start, end)


def tick_seconds(source: FrameSource, fps: Fraction | None) -> Fraction:
    """Return the seconds of one tick."""
    return (source.time_base if fps is None else 1 / fps) / 2


def request_of(read_range: ReadRange, source: FrameSource, grid: FrameGrid, *, start: int, stop: int) -> DecodeRequest:
    """Return the decoder's request for rows [start, stop) of a read range."""
    planned = pts.unpack(read_range.pts)
    low, high = start - read_range.start, stop - read_range.start
    first, fps = read_range.first_grid_row, grid.fps
    geometry, *moves = _geometries(read_range, source, grid, planned[low:high])
    return DecodeRequest(
        uri=source.uri,
        source_size=(source.height, source.width),
        geometry=geometry[1],
        moves=tuple(moves),
        time_base=source.time_base,
        first_pts=source.first_pts,
        counted=source.counted,
        seek_pts=_seek_pts(read_range, int(planned[low]), is_first=first + low == 0),
        pts_lo=int(planned[low]),
        pts_hi=int(planned[high]) if high < len(planned) else read_range.stop_pts,
        grid=None if fps is None else (fps.numerator, fps.denominator, first + low, first + high),
    )


def _seek_pts(read_range: ReadRange, pts_lo: int, *, is_first: bool) -> int | None:
    """Return the PTS of the key frame at which decoding starts; None: the file's start."""
    return None if is_first else max((key for key in read_range.key_pts if key <= pts_lo), default=None)


def _geometries(
    read_range: ReadRange, source: FrameSource, grid: FrameGrid, shown: IntArray
) -> list[tuple[int, Geometry]]:
    """Return the geometry of a range's first frame, then each new geometry with the PTS of its first frame."""
    path, found = read_range.boxes, list[tuple[int, Geometry]]()
    for at in dict.fromkeys(shown.tolist()) if path is not None and path.seconds else shown[:1].tolist():
        seconds = float((at - source.first_pts) * source.time_base)
        geometry = tracks.geometry_at(path, seconds, source, size=grid.size, fit=grid.fit)
        if not found or found[-1][1] != geometry:
            found.append((at, geometry))
    return found


class Ticker:
    """Converts the PTS of a range's frames to ticks; keeps the PTS if the rate is numeric."""

    def __init__(self, read_range: ReadRange, source: FrameSource, fps: Fraction | None, *, start: int) -> None:
        self._first_pts = source.first_pts
        self._row = self._first_row = None if fps is None else read_range.first_grid_row + start - read_range.start
        self.shown: list[IntArray] = []
        """PTS of the frame shown at each row of a grid of numeric rate, block by block."""

    def __call__(self, frame_pts: IntArray) -> IntArray:
        """Return the ticks of the next frames."""
        if self._row is None:
            return 2 * (frame_pts - self._first_pts)
        self.shown.append(frame_pts)
        self._row += len(frame_pts)
        return 2 * np.arange(self._row - len(frame_pts), self._row, dtype=np.int64)

    def pts_at(self, ticks: IntArray) -> IntArray:
        """Return the PTS of the frames shown at ticks that a call has returned."""
        if self._first_row is None:
            return ticks // 2 + self._first_pts
        return np.concatenate(self.shown)[ticks // 2 - self._first_row]


def decoded(decoder: Decoder, request: DecodeRequest, ticker: Ticker) -> Iterator[Block]:
    """Yield the frames of a request."""
    for frames, frame_pts in decoder.frames(request):
        yield frames, ticker(frame_pts)


class Spool:
    """An unnamed temporary file with the frames of one of several read ranges that share a decode."""

    def __init__(self, folder: Path, size: tuple[int, int], ticker: Ticker) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  open as long as its blocks are needed
        self._shape = (*size, 3)
        self._ticker = ticker
        self._ticks: list[IntArray] = []

    def add(self, frames: FrameArray, frame_pts: IntArray) -> None:
        """Keep the next frames."""
        left = np.ascontiguousarray(frames).data.cast("B")
        while left:  # a file on a full disk takes a part, and only the next write says why
            left = left[self._file.write(left) :]
        self._ticks.append(self._ticker(frame_pts))

    def blocks(self) -> Iterator[Block]:
        """Yield the stored frames, block by block, then free the file."""
        self._file.seek(0)
        for ticks in self._ticks:
            frames = np.empty((len(ticks), *self._shape), dtype=np.uint8)
            self._fill(frames)
            yield frames, ticks
        self._file.close()

    def _fill(self, frames: FrameArray) -> None:
        left = frames.data.cast("B")
        while left:
            num_bytes = self._file.readinto(left)
            if not num_bytes:
                raise OSError(
                    errno.EIO, f"a file of decoded frames ends {len(left)} bytes early; what was written is gone"
                )
            left = left[num_bytes:]


def spooled(decoder: Decoder, requests: Sequence[DecodeRequest], spools: Sequence[Spool]) -> None:
    """Decode once for several requests, each into its spool."""
    for frames, frame_pts, numbers in decoder.shared(requests):
        for i, spool in enumerate(spools):
            mine = numbers == i
            if mine.any():
                spool.add(frames[mine], frame_pts[mine])


class Reader:
    """Splits a range's blocks into pieces, with the frames around each piece."""

    def __init__(self, blocks: Iterator[Block], clock: Clock, *, before: int, after: int) -> None:
        self._blocks = blocks
        self._clock = clock
        self._before, self._after = before, after
        self._frames: FrameArray | None = None
        self._ticks: IntArray = np.empty(0, dtype=np.int64)
        self._at = 0
        self._past: FrameArray | None = None
        self._ahead: list[Block] = []

    def piece(self, start: int, stop: int, out: FrameArray) -> Window:
        """Read the frames of rows [start, stop) into `out` (stop - start, height, width, 3), with their context."""
        for frames, _ in self._until(self._clock.at(start)):
            self._remember(frames)
        filled = 0
        ticks: list[IntArray] = [np.empty(0, dtype=np.int64)]
        surplus = ticks[:]
        for frames, frame_ticks in self._until(self._clock.at(stop)):
            room = min(len(out) - filled, len(frames))
            surplus.append(frame_ticks[room:])
            out[filled : filled + room] = frames[:room]
            ticks.append(frame_ticks[:room])
            filled += room
        before = out[:0] if self._past is None else self._past
        self._remember(out[:filled])
        after = self._peek(self._clock.at(stop + self._after)) if self._after else []
        return Window(
            before=before,
            own=out[:filled],
            after=np.concatenate([out[:0], *(frames for frames, _ in after)]),
            ticks=np.concatenate([*ticks, *(t for _, t in after)]),
            surplus=np.concatenate(surplus),
        )

    def drain(self) -> None:
        """Read to the end of the stream, discarding the frames."""
        for _ in self._blocks:
            pass

    def _remember(self, frames: FrameArray) -> None:
        if self._before and len(frames):
            past = frames[:0] if self._past is None else self._past
            self._past = np.concatenate([past, frames[-self._before :]])[-self._before :]

    def _until(self, tick: int) -> Iterator[Block]:
        """Yield the next frames before a tick: those already peeked at, then views of the stream's blocks."""
        while self._ahead:
            frames, ticks = self._ahead.pop(0)
            stop = int(np.searchsorted(ticks, tick, side="left"))
            if stop < len(ticks):
                self._ahead.insert(0, (frames[stop:], ticks[stop:]))
            if stop:
                yield frames[:stop], ticks[:stop]
            if stop < len(ticks):
                return
        yield from self._stream_until(tick)

    def _peek(self, tick: int) -> list[Block]:
        """Return copies of the next frames before a tick, without consuming them."""
        self._ahead += [(frames.copy(), ticks) for frames, ticks in self._stream_until(tick)]
        stops = [int(np.searchsorted(ticks, tick, side="left")) for _, ticks in self._ahead]
        return [(f[:stop], t[:stop]) for (f, t), stop in zip(self._ahead, stops, strict=True) if stop]

    def _stream_until(self, tick: int) -> Iterator[Block]:
        while True:
            if self._frames is None or self._at == len(self._ticks):
                block = next(self._blocks, None)
                if block is None:
                    self._frames = None
                    return
                self._frames, self._ticks = block
                self._at = 0
            stop = int(np.searchsorted(self._ticks, tick, side="left"))
            if stop <= self._at:
                return
            first, self._at = self._at, stop
            yield self._frames[first:stop], self._ticks[first:stop]


@dataclass(frozen=True, slots=True)
class Window:
    """The frames of a piece, and existing frames around it."""

    before: FrameArray
    own: FrameArray
    after: FrameArray
    ticks: IntArray
    """Ticks of `own`, then of `after`."""
    surplus: IntArray
    """Ticks of frames that the packets had not listed, for which there was no room."""

    def spread(self, *, rows: int, size: int, stride: int, context: tuple[int, int]) -> FrameArray:
        """Return the frames that `rows` windows and their context need; past the ends, the end frame is repeated."""
        before, after = context
        stop = (rows - 1) * stride + size + after
        parts = []
        if before:
            have = self.before[-before:]
            edge = have if len(have) else self.own
            parts += [np.repeat(edge[:1], before - len(have), axis=0), have]
        parts.append(self.own[:stop])
        if stop > len(self.own):
            parts.append(self.after[: stop - len(self.own)])
            missing = stop - len(self.own) - len(parts[-1])
            last = self.after[-1:] if len(self.after) else self.own[-1:]
            parts.append(np.repeat(last, missing, axis=0))
        parts = [part for part in parts if len(part)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
