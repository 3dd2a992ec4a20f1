"""The fused unit: one decode feeds every product; whole shards go to the lake, receipts come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from patchlake.tasks import failpoints, pts
from patchlake.tasks.errors import DecodeError
from patchlake.tasks.features.extractor import Extractor, Gatherer, Hearer, reach_of, window_frames, window_rows
from patchlake.tasks.filters.stream import Filtering
from patchlake.tasks.lake import shards
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.types import (
    PIXELS,
    FrameArray,
    FrameGrid,
    FrameSource,
    IntArray,
    Piece,
    PieceFrames,
    PieceReceipt,
    PoisonPiece,
    ReadRange,
    Receipt,
    Unit,
    UnitResult,
)
from patchlake.tasks.unit.stored import stored
from patchlake.tasks.unit.worker_state import Job, WorkerState, worker_state_of
from patchlake.tasks.video import frames
from patchlake.tasks.video.audio import Sound
from patchlake.tasks.video.decoder import Decoder, DecodeRequest, get_decoder, get_listener
from patchlake.tasks.video.frames import Block, Clock, Reader, Ticker, Window


def try_unit(job: Job, unit: Unit) -> None:
    """Decode and compute a unit as `extract_unit` does, but store nothing: does the process live through it?"""
    work = _Work(job, unit, worker_state_of(job), get_decoder(), stores=False)
    for slot, pieces in zip(unit.slots, unit.pieces, strict=True):
        work.write_slot(slot, pieces)
    work.close()


def extract_unit(job: Job, unit: Unit) -> UnitResult:
    """Write every product of a unit and return its receipts. Safe to run twice, at once too: same bytes, same place."""
    started = time.perf_counter()
    work = _Work(job, unit, worker_state_of(job), get_decoder())
    for slot, pieces in zip(unit.slots, unit.pieces, strict=True):
        work.write_slot(slot, pieces)
    work.close()
    if work.sound is not None:
        work.sound[1].close()
    receipts = tuple(
        Receipt(
            unit_id=unit.unit_id,
            product=name,
            product_digest=job.products[name].digest,
            slots=unit.slots,
            pieces=tuple(sorted(work.written[name], key=lambda piece: (piece.slot, piece.row_start))),
            num_bytes=work.num_bytes[name],
            seconds={
                "decode": work.seconds["decode"] - work.filtering.wall_seconds if name == unit.products[0] else 0.0,
                "compute": work.seconds.get(f"compute {name}", 0.0)
                + (work.filtering.cpu_seconds if name == unit.products[0] else 0.0),
                "write": work.seconds.get(f"write {name}", 0.0),
            },
        )
        for name in unit.products
    )
    return UnitResult(
        unit_id=unit.unit_id,
        receipts=receipts,
        frames=tuple(work.frames),
        num_decoded=work.num_decoded,
        num_redecoded=work.num_redecoded,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _Part:
    """The rows of a run that a unit reads from one seek."""

    read_range: ReadRange
    start: int
    stop: int
    ticker: Ticker

    def request(self, source: FrameSource, grid: FrameGrid) -> DecodeRequest:
        return frames.request_of(self.read_range, source, grid, start=self.start, stop=self.stop)


@dataclass
class _Reading:
    """A part whose frames are being handed out."""

    part: _Part
    clock: Clock
    reader: Reader
    broken: DecodeError | None = None

    def shown(self, row: int, num_rows: int) -> IntArray:
        """Return the PTS shown at rows of a span, where the rate is numeric; else nothing."""
        first = row - self.part.start
        return np.concatenate([np.empty(0, dtype=np.int64), *self.part.ticker.shown])[first : first + num_rows]


class _Cells(NamedTuple):
    """The rows that a piece gives an extractor."""

    piece: Piece
    frames: FrameArray
    """What they are made of, with context; none where they are heard."""
    firsts: IntArray
    lasts: IntArray
    """Ticks of each row's first and last frame."""


@dataclass
class _Work:
    """A unit under way."""

    job: Job
    unit: Unit
    bench: WorkerState
    decoder: Decoder
    stores: bool = True
    """Whether anything is written."""
    written: dict[str, list[PieceReceipt]] = field(init=False)
    num_bytes: dict[str, int] = field(init=False)
    frames: list[PieceFrames] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"decode": 0.0})  # of a unit of culprits nothing is read
    num_decoded: int = 0
    num_redecoded: int = 0

    def __post_init__(self) -> None:
        self.written = {name: [] for name in self.unit.products}
        self.num_bytes = dict.fromkeys(self.unit.products, 0)
        self.from_store = PIXELS in self.job.products and PIXELS not in self.unit.products
        self.filtering = Filtering(() if self.from_store else self.bench.filters, self.job.frames)
        self.culprits = {(culprit.span_key, culprit.row_start): culprit for culprit in self.unit.poison_pieces}
        self.decodes = {one.span_key: ranges for ranges in self.unit.decodes for one in ranges}
        self.sources = {source.video_id: source for source in self.unit.sources}
        pieces = [piece for slot in self.unit.pieces for piece in slot]
        self.first_rows = {piece.span_key: piece.start for piece in reversed(pieces)}
        self.last_rows = {piece.span_key: piece.stop for piece in pieces}
        self.row_starts = {piece.span_key: piece.row_start - piece.start for piece in pieces}
        wanted = [self.bench.extractors[name] for name in self.unit.products if name != PIXELS]
        self.before = max((reach_of(e)[0] for e in wanted), default=0)
        self.after = max((reach_of(e)[1] for e in wanted), default=0)
        self.reading: dict[str, _Reading] = {}
        self.waiting: dict[str, list[_Cells]] = {}
        """What of the present slot is computed at its end, at once."""
        self.sound: tuple[str, Sound] | None = None
        self.crashed: set[str] = set()
        """Spans during which the decoding child died."""

    @contextmanager
    def timed(self, what: str, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
        started = clock()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + clock() - started

    def write_slot(self, slot: int, pieces: tuple[Piece, ...]) -> None:
        """Fill one slot of every product and move its shards into place."""
        r = self.job.layout.slot_frames
        pixels = self.bench.slot
        blocks = {
            name: np.zeros((p.rows_per_slot, *p.cell_shape), dtype=p.dtype)
            for name, p in self.job.products.items()
            if name in self.unit.products and name != PIXELS
        }
        clean = 0
        for piece in pieces:
            first = piece.row_start - slot * r
            pixels[clean:first] = 0
            out = pixels[first : first + piece.num_rows]
            num_rows = self._write_piece(piece, out, blocks, slot)
            clean = first + num_rows
        pixels[clean:] = 0
        for name, waiting in self.waiting.items():
            self._compute(name, waiting, blocks[name], slot)
        self.waiting.clear()
        if PIXELS in self.unit.products:
            blocks[PIXELS] = pixels
        failpoints.reach("decoding")
        for name, block in blocks.items() if self.stores else ():
            with self.timed(f"write {name}"):
                self.num_bytes[name] += self.bench.writer(name).write(slot, block)
            failpoints.reach("shard_written")

    def _write_piece(self, piece: Piece, out: FrameArray, blocks: dict[str, npt.NDArray[Any]], slot: int) -> int:
        reason, message = None, ""
        if (culprit := self.culprits.get((piece.span_key, piece.row_start))) is not None:
            return self._leave_out(piece, culprit, slot)
        with self.timed("decode"):
            reading, window = self._read(piece, out)
            if reading.broken is not None and reading.broken.reason == "crash" and piece.span_key not in self.crashed:
                self.crashed.add(piece.span_key)  # somebody else may have ended the child: once more tells
                self.close()
                reading, window = self._read(piece, out)
        if reading.broken is not None:
            reason, message = reading.broken.reason, reading.broken.message
        elif len(window.surplus):
            reason = "count_grew"
            message = f"{len(window.surplus)} frames more than the packets promised ({piece.num_rows})"
        elif len(window.own) < piece.num_rows and not self.from_store:
            reason, message = self._why_short(piece, reading, window)
        num_rows = len(window.own)
        self._note(piece, reading, window, reason, message)
        for name in self.unit.products:
            if name == PIXELS:
                self._record(name, piece.span_key, slot, piece.row_start, out[:num_rows], window.ticks[:0])
            elif isinstance(self.bench.extractors[name], Gatherer):
                self.waiting.setdefault(name, []).append(self._cells(name, piece, window))
            else:
                self._compute(name, [self._cells(name, piece, window)], blocks[name], slot)
        return num_rows

    def _read(self, piece: Piece, out: FrameArray) -> tuple[_Reading, Window]:
        reading = self._reading(piece)
        try:
            if reading.broken is None:
                return reading, reading.reader.piece(piece.start, piece.stop, out)
        except Unreachable:
            raise  # it lies in the store, not in the video: nothing of the unit is committed, a re-run tries again
        except DecodeError as error:
            reading.broken = error
        return reading, _nothing(out)

    def _leave_out(self, piece: Piece, culprit: PoisonPiece, slot: int) -> int:
        """Say why a piece has no rows; later pieces read past its frames."""
        nothing = PieceFrames(
            span_key=piece.span_key,
            row_start=piece.row_start,
            num_rows=0,
            ticks=b"",
            pts=b"",
            reason=culprit.reason,
            message=culprit.message,
        )
        self.frames.append(nothing)
        none = np.empty(0, dtype=np.int64)
        for name in self.unit.products:
            stride = 1 if name == PIXELS else self.job.products[name].time_stride
            self._record(name, piece.span_key, slot, piece.row_start // stride, none, none)
        return 0

    def _why_short(self, piece: Piece, reading: _Reading, window: Window) -> tuple[str, str]:
        """Return why a piece has fewer rows than planned: its end is missing, or frames in between.

        What else a decode counted on its way depends on where units begin and end: that goes into the message alone.
        """
        num_rows = len(window.own)
        message = f"{num_rows} of {piece.num_rows} promised frames could be decoded"
        has_last = num_rows > 0 and int(window.ticks[num_rows - 1]) >= reading.clock.at(piece.stop - 1)
        reason = "truncated" if piece.stop == piece.span_rows and not has_last else "corrupt"
        if (summary := self.decoder.summary) is not None and summary.reason is not None:
            message += f": {summary.message}"
            reason = summary.reason if summary.reason == "resolution_change" else reason
        return reason, message

    def _cells(self, name: str, piece: Piece, window: Window) -> _Cells:
        """Return the rows that a piece gives an extractor, with the frames they are made of."""
        extractor, product = self.bench.extractors[name], self.job.products[name]
        size, stride = product.time_size, product.time_stride
        frames_each, step = window_frames(extractor)
        num_windows = max(0, min(-(-len(window.own) // step), (len(window.ticks) - frames_each) // step + 1))
        num_rows = num_windows * window_rows(extractor)
        around = window.own[:0]
        if num_rows and not isinstance(extractor, Hearer):
            around = window.spread(rows=num_rows, size=size, stride=stride, context=extractor.context_frames)
        heads = np.arange(num_rows) * stride
        firsts, lasts = (window.ticks[heads + i] if num_rows else window.ticks[:0] for i in (0, size - 1))
        return _Cells(piece, around, firsts, lasts)

    def _compute(self, name: str, cells: Sequence[_Cells], block: npt.NDArray[Any], slot: int) -> None:
        """Fill the rows of one piece, or of several at once where the extractor gathers them."""
        extractor, product = self.bench.extractors[name], self.job.products[name]
        with self.timed(f"compute {name}", clock_of(extractor)):
            some = [one for one in cells if len(one.firsts)]
            if isinstance(extractor, Hearer):
                found = [self._heard(extractor, one) for one in some]
            elif isinstance(extractor, Gatherer) and some:
                found = extractor.gather([one.frames for one in some])
            else:
                found = [extractor(one.frames) for one in some]
            values = iter(found)
            for one in cells:
                row_start = one.piece.row_start // product.time_stride
                first = row_start - slot * product.rows_per_slot
                out = block[first : first + len(one.firsts)]
                if len(out):
                    out[:] = next(values)
                self._record(name, one.piece.span_key, slot, row_start, out, (one.firsts + one.lasts) // 2)

    def _heard(self, hearer: Hearer, cells: _Cells) -> npt.NDArray[Any]:
        tick = float(frames.tick_seconds(self.sources[cells.piece.video_id], self.job.frames.fps))
        return hearer.hear(self._sound(cells.piece), np.multiply(cells.firsts, tick), np.multiply(cells.lasts, tick))

    def _sound(self, piece: Piece) -> Sound:
        """Return the sound of a piece's video, which goes on where the piece before left it."""
        if self.sound is None or self.sound[0] != piece.video_id:
            if self.sound is not None:
                self.sound[1].close()
            self.sound = piece.video_id, Sound(get_listener(), self.sources[piece.video_id])
        return self.sound[1]

    def _record(
        self, name: str, span_key: str, slot: int, row_start: int, values: npt.NDArray[Any], ticks: IntArray
    ) -> None:
        checksum = xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data) if len(values) else 0
        self.written[name].append(
            PieceReceipt(
                span_key=span_key,
                slot=slot,
                row_start=row_start,
                num_rows=len(values),
                checksum=checksum,
                ticks=pts.pack(ticks),
            )
        )

    def _note(self, piece: Piece, reading: _Reading, window: Window, reason: Any, message: str) -> None:
        num_rows = len(window.own)
        source = self.sources[piece.video_id]
        self.frames.append(
            PieceFrames(
                span_key=piece.span_key,
                row_start=piece.row_start,
                num_rows=num_rows,
                ticks=b"" if self.from_store else pts.pack(window.ticks[:num_rows]),
                pts=pts.pack(reading.shown(piece.start, num_rows)),
                reason=reason,
                message=message,
                surplus=pts.pack(window.surplus // 2 + source.first_pts),
            )
        )

    def _reading(self, piece: Piece) -> _Reading:
        """Return where a piece's frames come from; a decode begins with the first piece that needs it."""
        if piece.span_key not in self.reading:
            self.close()
            self._open(self.decodes[piece.span_key], piece)
        return self.reading[piece.span_key]

    def _open(self, ranges: Sequence[ReadRange], piece: Piece) -> None:
        source = self.sources[piece.video_id]
        parts = [self._part(read_range, source, piece) for read_range in ranges]
        if self.from_store:
            streams = [self._stored(part, source) for part in parts]
        elif len(parts) == 1:
            streams = [frames.decoded(self.decoder, parts[0].request(source, self.job.frames), parts[0].ticker)]
        else:
            streams = self._spooled(parts, source)
        for part, stream in zip(parts, streams, strict=True):
            clock = frames.clock_of(part.read_range, source, self.job.frames.fps)
            stream = self.filtering(stream, part.read_range, source, clock=clock, ticker=part.ticker)
            reader = Reader(stream, clock, before=self.before, after=self.after)
            self.reading[part.read_range.span_key] = _Reading(part, clock, reader)

    def _part(self, read_range: ReadRange, source: FrameSource, piece: Piece) -> _Part:
        """Return the rows of a run that are still wanted, with the context of products and filters."""
        first = piece.start if read_range.span_key == piece.span_key else self.first_rows[read_range.span_key]
        before, after = self.filtering.context_frames
        start = max(read_range.start, first - self.before - before)
        stop = min(read_range.stop, self.last_rows[read_range.span_key] + self.after + after)
        return _Part(read_range, start, stop, Ticker(read_range, source, self.job.frames.fps, start=start))

    def _stored(self, part: _Part, source: FrameSource) -> Iterator[Block]:
        first = self.row_starts[part.read_range.span_key]
        tick = frames.tick_seconds(source, self.job.frames.fps)
        return stored(self.job.lake, row_start=first + part.start, row_stop=first + part.stop, tick=tick)

    def _spooled(self, parts: Sequence[_Part], source: FrameSource) -> list[Iterator[Block]]:
        """Decode once for all parts; each takes its frames, and what broke the decode, when its turn comes."""
        folder, broken = shards.scratch_folder(self.job.lake), None
        spools = [frames.Spool(folder, self.job.frames.size, part.ticker) for part in parts]
        try:
            frames.spooled(self.decoder, [part.request(source, self.job.frames) for part in parts], spools)
        except Unreachable:
            raise
        except DecodeError as error:
            broken = error
        return [_then_raise(spool.blocks(), broken) for spool in spools]

    def close(self) -> None:
        """Read the present decode to its end, so that the decoder is ready for the next, and take its summary."""
        if not self.reading:
            return
        for reading in self.reading.values():
            with suppress(DecodeError):  # what broke the run was noted with the piece it broke
                reading.reader.drain()
        self.reading = {}
        if not self.from_store and (summary := self.decoder.summary) is not None:
            self.num_decoded += summary.num_decoded
            self.num_redecoded += summary.num_redecoded
            if summary.reason and self.frames[-1].reason is None:
                self.frames[-1] = replace(self.frames[-1], reason=summary.reason, message=summary.message)


def _then_raise(blocks: Iterator[Block], error: DecodeError | None) -> Iterator[Block]:
    yield from blocks
    if error is not None:
        raise error


def clock_of(extractor: Extractor) -> Callable[[], float]:
    """CPU time of this thread, since the decoding child shares the core; a GPU's work is seen by the wall clock."""
    return time.perf_counter if extractor.needs_gpu else time.thread_time


def _nothing(out: FrameArray) -> Window:
    none = out[:0]
    no_ticks = np.empty(0, dtype=np.int64)
    return Window(before=none, own=none, after=none, ticks=no_ticks, surplus=no_ticks)
