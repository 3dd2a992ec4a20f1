"""The fused unit: one decode feeds all products; whole shards go to the lake, receipts are returned."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks import failpoints
from patchlake.tasks.features.extractor import reach_of
from patchlake.tasks.types import PIXELS, FrameArray, Piece, PoisonPiece, Unit, UnitResult
from patchlake.tasks.unit.compute import SlotProducts, UnitComputer
from patchlake.tasks.unit.read import UnitReader, UnitSound
from patchlake.tasks.unit.receipts import DECODE, WRITE, UnitReceipts
from patchlake.tasks.unit.worker_state import Job, WorkerState, worker_state_of


def try_unit(job: Job, unit: Unit) -> None:
    """Decode and compute a unit like `extract_unit`, but store nothing: tests whether the process survives it."""
    work = _Work.of(job, unit)
    for slot, pieces in zip(unit.slots, unit.pieces, strict=True):
        work.fill(slot, pieces)
    work.close()


def extract_unit(job: Job, unit: Unit) -> UnitResult:
    """Write all products of a unit and return its receipts. Safe to run twice, even at once: same bytes, same place."""
    started = time.perf_counter()
    work = _Work.of(job, unit)
    for slot, pieces in zip(unit.slots, unit.pieces, strict=True):
        work.write(slot, work.fill(slot, pieces))
    work.close()
    reader, filtering = work.reader, work.reader.filtering
    return UnitResult(
        unit_id=unit.unit_id,
        receipts=work.receipts.receipts(
            job.products, filter_wall_seconds=filtering.wall_seconds, filter_cpu_seconds=filtering.cpu_seconds
        ),
        frames=tuple(reader.notes),
        num_decoded=reader.num_decoded,
        num_redecoded=reader.num_redecoded,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _Work:
    """A unit in progress, slot by slot."""

    job: Job
    unit: Unit
    state: WorkerState
    reader: UnitReader
    sound: UnitSound
    computer: UnitComputer
    receipts: UnitReceipts

    @classmethod
    def of(cls, job: Job, unit: Unit) -> _Work:
        state = worker_state_of(job)
        extractors = {name: state.extractors[name] for name in unit.products if name != PIXELS}
        before, after = (max((reach_of(e)[side] for e in extractors.values()), default=0) for side in (0, 1))
        receipts, sound = UnitReceipts(unit), UnitSound(unit.sources)
        return cls(
            job=job,
            unit=unit,
            state=state,
            reader=UnitReader(job, unit, state.filters, reach=(before, after)),
            sound=sound,
            computer=UnitComputer(job, unit, extractors, sound, receipts),
            receipts=receipts,
        )

    def fill(self, slot: int, pieces: tuple[Piece, ...]) -> dict[str, npt.NDArray[Any]]:
        """Return a slot's rows of each product, (rows_per_slot, y, x, channel); 0 where there are none."""
        pixels, products = self.state.slot, self.computer.slot(slot)
        poison = {(one.span_key, one.row_start): one for one in self.unit.poison_pieces}
        filled = 0
        for piece in pieces:
            first = piece.row_start - slot * self.job.layout.slot_frames
            pixels[filled:first] = 0
            if (bad := poison.get((piece.span_key, piece.row_start))) is not None:
                self._leave_out(piece, bad, slot)
                filled = first
            else:
                filled = first + self._add(piece, pixels[first : first + piece.num_rows], products, slot)
        pixels[filled:] = 0
        blocks = products.finish()
        failpoints.reach("decoding")
        return blocks | ({PIXELS: pixels} if PIXELS in self.unit.products else {})

    def write(self, slot: int, blocks: dict[str, npt.NDArray[Any]]) -> None:
        """Move a slot's shards into place."""
        for name, block in blocks.items():
            with self.receipts.timed(WRITE, name):
                self.receipts.num_bytes[name] += self.state.writer(name).write(slot, block)
            failpoints.reach("shard_written")

    def close(self) -> None:
        """Make the video and sound decoders ready for the next unit."""
        self.reader.close()
        self.sound.close()

    def _add(self, piece: Piece, out: FrameArray, products: SlotProducts, slot: int) -> int:
        """Read a piece's pixel rows into `out`, compute its products, and return the number of rows read."""
        with self.receipts.timed(DECODE):
            window = self.reader.read(piece, out)
        if PIXELS in self.unit.products:
            self.receipts.add(
                PIXELS,
                piece.span_key,
                slot=slot,
                row_start=piece.row_start,
                values=window.own,
                ticks=window.ticks[:0],
            )
        products.add(piece, window)
        return len(window.own)

    def _leave_out(self, piece: Piece, poison: PoisonPiece, slot: int) -> None:
        """Record a piece as having no rows."""
        self.reader.leave_out(poison)
        none = np.empty(0, dtype=np.int64)
        for name in self.unit.products:
            row_start = piece.row_start // self.job.products[name].time_stride
            self.receipts.add(name, piece.span_key, slot=slot, row_start=row_start, values=none, ticks=none)
