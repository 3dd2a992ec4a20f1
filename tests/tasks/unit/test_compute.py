"""What a piece gives an extractor, which pieces it gets at once, and where its rows go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from one_video import plan_video

from patchlake.tasks import pts
from patchlake.tasks.features import Cells, Extractor, FrameExtractor
from patchlake.tasks.features.extractor import SOUND
from patchlake.tasks.types import FrameArray, Piece
from patchlake.tasks.unit.compute import UnitComputer, cells_of
from patchlake.tasks.unit.read import UnitSound
from patchlake.tasks.unit.receipts import UnitReceipts
from patchlake.tasks.video.frames import Window


def no_sound() -> Any:
    raise AssertionError("nobody asked for sound")


def frames_of(*numbers: int) -> FrameArray:
    """Return frames of one pixel, which hold their number."""
    return np.array(numbers, np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)


def window_of(own: range, *, before: tuple[int, ...] = (), after: tuple[int, ...] = ()) -> Window:
    """Return a window whose frame i is shown at tick 10 i."""
    ticks = 10 * np.array([*own, *after], dtype=np.int64)
    none = np.empty(0, np.int64)
    return Window(frames_of(*before), frames_of(*own), frames_of(*after), ticks, none)


class Recorder(FrameExtractor):
    """Means of frames; it keeps what it was given, call by call."""

    version = 1
    channels: tuple[str, ...] = ("mean",)
    dtype = "float32"
    centres = ((0.5,), (0.5,))
    needs_gpu = False

    def __init__(self, **parts: Any) -> None:
        self.time_size, self.time_stride, self.context_frames = 1, 1, (0, 0)
        self.digest_parts, self.attrs = {}, {}
        for name, value in parts.items():
            setattr(self, name, value)
        self.calls: list[list[Cells]] = []

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        mean = frames.mean(axis=(1, 2, 3), dtype=np.float32)
        before, after = self.context_frames
        heads = range(before, len(mean) - after - self.time_size + 1, self.time_stride)
        return np.array([mean[i : i + self.time_size].mean() for i in heads], np.float32)[:, None, None, None]

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[Any]]:
        self.calls.append(list(pieces))
        return super().compute(pieces)


def numbers(cells: Cells) -> list[int]:
    return cells.frames[:, 0, 0, 0].tolist()


def test_a_row_for_each_window_that_starts_in_the_piece_and_has_all_its_frames() -> None:
    extractor = Recorder(time_size=4, time_stride=2)
    inside, _ = cells_of(extractor, window_of(range(8), after=(8, 9)), 1.0, no_sound)
    assert numbers(inside) == list(range(10)), "the last window starts at 6 and reaches into the next piece"
    at_end, ticks = cells_of(extractor, window_of(range(8)), 1.0, no_sound)
    assert numbers(at_end) == list(range(8))
    assert ticks.tolist() == [15, 35, 55], "centres of frames 0 to 3, 2 to 5, 4 to 7"
    assert cells_of(extractor, window_of(range(3)), 1.0, no_sound)[1].tolist() == []


def test_context_is_what_lies_around_or_the_end_frame_again() -> None:
    extractor = Recorder(context_frames=(2, 1))
    alone, _ = cells_of(extractor, window_of(range(5, 8)), 1.0, no_sound)
    assert numbers(alone) == [5, 5, 5, 6, 7, 7]
    amid, _ = cells_of(extractor, window_of(range(5, 8), before=(3, 4), after=(8,)), 1.0, no_sound)
    assert numbers(amid) == [3, 4, 5, 6, 7, 8]


def test_several_rows_of_one_window_need_all_of_it() -> None:
    extractor = Recorder(time_size=2, time_stride=2, window_rows=2)
    cells, ticks = cells_of(extractor, window_of(range(7)), 1.0, no_sound)
    assert numbers(cells) == [0, 1, 2, 3]
    assert ticks.tolist() == [5, 25], "two tubelets of frames 0 to 3; 4 to 6 fill no window"


def test_who_reads_sound_gets_times_and_no_frames() -> None:
    extractor = Recorder(time_size=4, time_stride=2, reads=SOUND)
    sound: Any = object()
    cells, _ = cells_of(extractor, window_of(range(6)), 0.5, lambda: sound)
    assert len(cells.frames) == 0
    assert (cells.first_seconds.tolist(), cells.last_seconds.tolist()) == ([0.0, 10.0], [15.0, 25.0])
    assert cells.open_sound() is sound


def test_frames_come_without_sound() -> None:
    with pytest.raises(TypeError, match="'sound'"):
        Cells(frames_of(1)).open_sound()


@pytest.fixture
def computed(tmp_path: Path) -> tuple[UnitComputer, dict[str, Recorder], list[Piece]]:
    """Return a computer of two products with stand-ins for their extractors, and two pieces of slot 1."""
    planned = plan_video(tmp_path, num_frames=32, features=["edges", "motion"])
    shape = {"y": (0.5,), "x": (0.5,), "channels": ("mean",)}
    products = {name: replace(product, **shape) for name, product in planned.job.products.items()}
    parts = {"time_size": 4, "time_stride": 4}
    extractors = {"edges": Recorder(**parts), "motion": Recorder(**parts, together=True)}
    unit, job = planned.unit, replace(planned.job, products=products)
    given: dict[str, Extractor] = dict(extractors)
    computer = UnitComputer(job, unit, given, UnitSound(unit.sources), UnitReceipts(unit))
    ((whole,),) = unit.pieces[1:]
    first, second = replace(whole, stop=whole.start + 8), replace(whole, start=whole.start + 8, row_start=24)
    return computer, extractors, [first, second]


def test_pieces_come_one_by_one_or_all_at_once(computed: tuple[UnitComputer, dict[str, Recorder], list[Piece]]) -> None:
    computer, extractors, pieces = computed
    slot = computer.slot(1)
    for piece in pieces:
        slot.add(piece, window_of(range(piece.row_start, piece.row_start + 8)))
    assert [len(call) for call in extractors["edges"].calls] == [1, 1]
    assert extractors["motion"].calls == []
    blocks = slot.finish()
    assert [[numbers(cells) for cells in call] for call in extractors["motion"].calls] == [
        [list(range(16, 24)), list(range(24, 32))]
    ]
    for block in blocks.values():
        assert block[:, 0, 0, 0].tolist() == [17.5, 21.5, 25.5, 29.5]


def test_receipts_say_where_rows_lie_and_what_they_hold(
    computed: tuple[UnitComputer, dict[str, Recorder], list[Piece]],
) -> None:
    computer, _, pieces = computed
    slot = computer.slot(1)
    for piece in pieces:
        slot.add(piece, window_of(range(piece.row_start, piece.row_start + 7)))
    blocks = slot.finish()
    found = computer.receipts.receipts(computer.job.products, filter_wall_seconds=0.0, filter_cpu_seconds=0.0)
    for receipt in found[1:]:
        assert [(p.slot, p.row_start, p.num_rows) for p in receipt.pieces] == [(1, 4, 1), (1, 6, 1)]
        assert [pts.unpack(p.ticks).tolist() for p in receipt.pieces] == [[175], [255]]
        rows = [blocks[receipt.product][i] for i in (0, 2)]
        assert [p.checksum for p in receipt.pieces] == [xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows]
        assert blocks[receipt.product][:, 0, 0, 0].tolist() == [17.5, 0, 25.5, 0], "half a window has no row"
    assert found[0].pieces == (), "pixels are the slot loop's"
