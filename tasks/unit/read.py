"""Reading a unit: each piece's frames and context, what went wrong, and the sound of its videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from patchlake.tasks import pts
from patchlake.tasks.errors import DecodeError
from patchlake.tasks.filters.filter import Filter
from patchlake.tasks.filters.stream import Filtering
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.types import (
    PIXELS,
    FrameArray,
    FrameSource,
    IntArray,
    Piece,
    PieceFrames,
    PoisonPiece,
    ReadRange,
    Reason,
    Unit,
)
from patchlake.tasks.unit import streams
from patchlake.tasks.unit.streams import Part
from patchlake.tasks.unit.worker_state import Job
from patchlake.tasks.video import frames
from patchlake.tasks.video.audio import Sound
from patchlake.tasks.video.decoder import get_decoder, get_listener
from patchlake.tasks.video.frames import Block, Clock, Reader, Ticker, Window


@dataclass
class _OpenSpan:
    """A span whose frames are being read."""

    start: int
    """Row of the first frame read, counted in the span."""
    clock: Clock
    ticker: Ticker
    reader: Reader
    broken: DecodeError | None = None

    def shown(self, row: int, num_rows: int) -> IntArray:
        """Return the PTS shown at rows of the span if the rate is numeric, else nothing."""
        first = row - self.start
        return np.concatenate([np.empty(0, dtype=np.int64), *self.ticker.shown])[first : first + num_rows]


class UnitReader:
    """Reads the frames of a unit's pieces, in order, and records what was read of each."""

    def __init__(self, job: Job, unit: Unit, filters: Sequence[Filter], reach: tuple[int, int]) -> None:
        """`reach`: the frames needed before and after each piece, without filters' context."""
        self.notes: list[PieceFrames] = []
        """Result of reading, piece by piece."""
        self.num_decoded = 0
        """Source frames decoded; of those, `num_redecoded` only to reach the first one needed."""
        self.num_redecoded = 0
        self.from_store = PIXELS in job.products and PIXELS not in unit.products
        self.filtering = Filtering(() if self.from_store else filters, job.frames)
        self._job, self._decoder = job, get_decoder()
        self._before, self._after = reach
        self._decodes = {one.span_key: ranges for ranges in unit.decodes for one in ranges}
        self._sources = {source.video_id: source for source in unit.sources}
        pieces = [piece for slot in unit.pieces for piece in slot]
        self._first_rows = {piece.span_key: piece.start for piece in reversed(pieces)}
        self._last_rows = {piece.span_key: piece.stop for piece in pieces}
        self._row_starts = {piece.span_key: piece.row_start - piece.start for piece in pieces}
        self._open: dict[str, _OpenSpan] = {}
        self._crashed: set[str] = set()
        """Spans during which the decoding child died."""

    def read(self, piece: Piece, out: FrameArray) -> Window:
        """Read a piece's frames into `out` (rows, height, width, 3); missing frames are recorded, not raised.

        Raises Unreachable if the store does not answer: that is not the video's fault, so nothing of the unit is
        committed and a re-run tries again.
        """
        span, window = self._tried(piece, out)
        if span.broken is not None and span.broken.reason == "crash" and piece.span_key not in self._crashed:
            self._crashed.add(piece.span_key)  # something else may have killed the child: try again
            self.close()
            span, window = self._tried(piece, out)
        reason, message = self._fault(piece, span, window)
        num_rows = len(window.own)
        self.notes.append(
            PieceFrames(
                span_key=piece.span_key,
                row_start=piece.row_start,
                num_rows=num_rows,
                ticks=b"" if self.from_store else pts.pack(window.ticks[:num_rows]),
                pts=pts.pack(span.shown(piece.start, num_rows)),
                reason=reason,
                message=message,
                surplus=pts.pack(window.surplus // 2 + self._sources[piece.video_id].first_pts),
            )
        )
        return window

    def leave_out(self, poison: PoisonPiece) -> None:
        """Record why a piece has no rows; later pieces skip its frames."""
        self.notes.append(
            PieceFrames(
                span_key=poison.span_key,
                row_start=poison.row_start,
                num_rows=0,
                ticks=b"",
                pts=b"",
                reason=poison.reason,
                message=poison.message,
            )
        )

    def close(self) -> None:
        """Read the current decode to its end, so that the decoder is ready for the next, and take its summary."""
        if not self._open:
            return
        for span in self._open.values():
            with suppress(DecodeError):  # already recorded with the piece that it affected
                span.reader.drain()
        self._open = {}
        if not self.from_store and (summary := self._decoder.summary) is not None:
            self.num_decoded += summary.num_decoded
            self.num_redecoded += summary.num_redecoded
            if summary.reason and self.notes[-1].reason is None:
                self.notes[-1] = replace(self.notes[-1], reason=summary.reason, message=summary.message)

    def _tried(self, piece: Piece, out: FrameArray) -> tuple[_OpenSpan, Window]:
        if piece.span_key not in self._open:
            self.close()
            self._open_spans(self._decodes[piece.span_key], piece)
        span = self._open[piece.span_key]
        try:
            if span.broken is None:
                return span, span.reader.piece(piece.start, piece.stop, out)
        except Unreachable:
            raise
        except DecodeError as error:
            span.broken = error
        return span, _nothing(out)

    def _fault(self, piece: Piece, span: _OpenSpan, window: Window) -> tuple[Reason | None, str]:
        """Return why a piece's rows differ from the plan, if they do."""
        if span.broken is not None:
            return cast(Reason, span.broken.reason), span.broken.message
        if len(window.surplus):
            return "count_grew", f"{len(window.surplus)} frames more than the packets promised ({piece.num_rows})"
        if len(window.own) < piece.num_rows and not self.from_store:
            return self._why_short(piece, span, window)
        return None, ""

    def _why_short(self, piece: Piece, span: _OpenSpan, window: Window) -> tuple[Reason, str]:
        """Return why a piece has fewer rows than planned: its end is missing, or frames in between.

        Anything else that the decode counted depends on where units begin and end, so it goes only into the message.
        """
        num_rows = len(window.own)
        message = f"{num_rows} of {piece.num_rows} promised frames could be decoded"
        has_last = num_rows > 0 and int(window.ticks[num_rows - 1]) >= span.clock.at(piece.stop - 1)
        reason: Reason = "truncated" if piece.stop == piece.span_rows and not has_last else "corrupt"
        if (summary := self._decoder.summary) is not None and summary.reason is not None:
            message += f": {summary.message}"
            reason = "resolution_change" if summary.reason == "resolution_change" else reason
        return reason, message

    def _open_spans(self, ranges: Sequence[ReadRange], piece: Piece) -> None:
        """Open the spans that share a decode, starting at the first piece that needs it."""
        job, source = self._job, self._sources[piece.video_id]
        parts = [self._part(one, source, piece) for one in ranges]
        if self.from_store:
            found = [self._stored(part, source) for part in parts]
        else:
            found = streams.decoded(self._decoder, parts, source, job.frames, job.lake)
        for part, stream in zip(parts, found, strict=True):
            clock = frames.clock_of(part.read_range, source, job.frames.fps)
            stream = self.filtering(stream, part.read_range, source, clock=clock, ticker=part.ticker)
            reader = Reader(stream, clock, before=self._before, after=self._after)
            self._open[part.read_range.span_key] = _OpenSpan(part.start, clock, part.ticker, reader)

    def _part(self, read_range: ReadRange, source: FrameSource, piece: Piece) -> Part:
        """Return the rows of a range that are still needed, with the context of products and filters."""
        first = piece.start if read_range.span_key == piece.span_key else self._first_rows[read_range.span_key]
        before, after = self.filtering.context_frames
        start = max(read_range.start, first - self._before - before)
        stop = min(read_range.stop, self._last_rows[read_range.span_key] + self._after + after)
        return Part(read_range, start, stop, Ticker(read_range, source, self._job.frames.fps, start=start))

    def _stored(self, part: Part, source: FrameSource) -> Iterator[Block]:
        first = self._row_starts[part.read_range.span_key]
        tick = frames.tick_seconds(source, self._job.frames.fps)
        return streams.stored(self._job.lake, row_start=first + part.start, row_stop=first + part.stop, tick=tick)


class UnitSound:
    """The sound of a unit's videos, one open at a time: one child decodes it, pieces continue where others ended."""

    def __init__(self, sources: Sequence[FrameSource]) -> None:
        self._sources = {source.video_id: source for source in sources}
        self._open: tuple[str, Sound] | None = None

    def of(self, video_id: str) -> Sound:
        """Return the sound of a video; closes that of another one."""
        if self._open is None or self._open[0] != video_id:
            self.close()
            self._open = video_id, Sound(get_listener(), self._sources[video_id])
        return self._open[1]

    def close(self) -> None:
        """Close the sound; the rest stays unread."""
        if self._open is not None:
            self._open[1].close()
        self._open = None


def _nothing(out: FrameArray) -> Window:
    none = out[:0]
    no_ticks = np.empty(0, dtype=np.int64)
    return Window(before=none, own=none, after=none, ticks=no_ticks, surplus=no_ticks)
