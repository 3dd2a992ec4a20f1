"""Computing a unit: the rows of each product for each piece, with their receipts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchlake.tasks.features.extractor import FRAMES, Cells, Extractor, window_frames
from patchlake.tasks.types import IntArray, Piece, Unit
from patchlake.tasks.unit.read import UnitSound
from patchlake.tasks.unit.receipts import COMPUTE, UnitReceipts
from patchlake.tasks.unit.worker_state import Job
from patchlake.tasks.video.audio import Sound
from patchlake.tasks.video.frames import Window, tick_seconds


class _PieceCells(NamedTuple):
    piece: Piece
    cells: Cells
    ticks: IntArray
    """(rows,) centre time of each row."""


@dataclass(frozen=True)
class UnitComputer:
    """Computes the products of a unit, except pixels."""

    job: Job
    unit: Unit
    extractors: Mapping[str, Extractor]
    """Product -> extractor."""
    sound: UnitSound
    receipts: UnitReceipts

    def slot(self, slot: int) -> SlotProducts:
        """Return the products of a slot, still without rows."""
        return SlotProducts(self, slot)


class SlotProducts:
    """The products of one slot, filled piece by piece."""

    def __init__(self, computer: UnitComputer, slot: int) -> None:
        self._computer, self._slot = computer, slot
        products = {name: computer.job.products[name] for name in computer.extractors}
        self._blocks: dict[str, npt.NDArray[Any]] = {
            name: np.zeros((p.rows_per_slot, *p.cell_shape), dtype=p.dtype) for name, p in products.items()
        }
        self._waiting: dict[str, list[_PieceCells]] = {}
        """Pieces to be computed together at the end of the slot."""

    def add(self, piece: Piece, window: Window) -> None:
        """Compute the rows of a piece, or keep its frames until all pieces of the slot have been added."""
        job, sound = self._computer.job, self._computer.sound
        source = next(s for s in self._computer.unit.sources if s.video_id == piece.video_id)
        seconds = float(tick_seconds(source, job.frames.fps))
        for name, extractor in self._computer.extractors.items():
            one = _PieceCells(piece, *cells_of(extractor, window, seconds, partial(sound.of, piece.video_id)))
            if extractor.together:
                self._waiting.setdefault(name, []).append(one)
            else:
                self._compute(name, [one])

    def finish(self) -> dict[str, npt.NDArray[Any]]:
        """Compute waiting pieces, and return the rows of each product, (rows_per_slot, y, x, channel)."""
        for name, waiting in self._waiting.items():
            self._compute(name, waiting)
        self._waiting = {}
        return self._blocks

    def _compute(self, name: str, pieces: Sequence[_PieceCells]) -> None:
        extractor, product = self._computer.extractors[name], self._computer.job.products[name]
        with self._computer.receipts.timed(COMPUTE, name, clock_of(extractor)):
            cells = [one.cells for one in pieces if len(one.ticks)]
            found = iter(extractor.compute(cells) if cells else ())
            for piece, _, ticks in pieces:
                row_start = piece.row_start // product.time_stride
                first = row_start - self._slot * product.rows_per_slot
                out = self._blocks[name][first : first + len(ticks)]
                if len(out):
                    out[:] = next(found)
                self._computer.receipts.add(
                    name, piece.span_key, slot=self._slot, row_start=row_start, values=out, ticks=ticks
                )


def cells_of(
    extractor: Extractor, window: Window, seconds_per_tick: float, open_sound: Callable[[], Sound]
) -> tuple[Cells, IntArray]:
    """Return an extractor's input for a piece, and the centre time of each row in ticks (rows,).

    Windows start at the piece's own frames, and each needs all of its frames.
    """
    size, stride = extractor.time_size, extractor.time_stride
    frames_each, step = window_frames(extractor)
    num_windows = max(0, min(-(-len(window.own) // step), (len(window.ticks) - frames_each) // step + 1))
    num_rows = num_windows * extractor.window_rows
    frames = window.own[:0]
    if num_rows and extractor.reads == FRAMES:
        frames = window.spread(rows=num_rows, size=size, stride=stride, context=extractor.context_frames)
    heads = np.arange(num_rows) * stride
    firsts, lasts = (window.ticks[heads + i] if num_rows else window.ticks[:0] for i in (0, size - 1))
    first_seconds, last_seconds = (np.multiply(ticks, seconds_per_tick) for ticks in (firsts, lasts))
    return Cells(frames, first_seconds, last_seconds, open_sound), (firsts + lasts) // 2


def clock_of(extractor: Extractor) -> Callable[[], float]:
    """Return an extractor's clock: thread CPU time, since the decoding child shares the core; for a GPU, wall time."""
    return time.perf_counter if extractor.needs_gpu else time.thread_time
