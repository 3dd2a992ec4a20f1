"""Frames are handed out in pieces with what lies around them, however the stream is cut into blocks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import a_source

from patchlake.tasks import pts
from patchlake.tasks.types import FrameArray, FrameGrid, Geometry, IntArray, ReadRange
from patchlake.tasks.video.frames import NEVER, Block, Clock, Reader, Window, clock_of, request_of, tick_seconds

quick = settings(max_examples=250, deadline=None)


def pictures(numbers: list[int] | range) -> FrameArray:
    """Return frames of one pixel that tell their number."""
    values = np.array(list(numbers), dtype=np.int64)
    return np.stack([values // 256, values % 256, values * 0], axis=-1).astype(np.uint8).reshape(-1, 1, 1, 3)


def numbers(frames: FrameArray) -> list[int]:
    return [256 * int(f[0, 0, 0]) + int(f[0, 0, 1]) for f in frames]


def blocks_of(frames: list[tuple[int, int]], sizes: list[int]) -> Iterator[Block]:
    """Yield frames (tick, number) in blocks that are wiped when the next one is asked for."""
    first, i = 0, 0
    while first < len(frames):
        part = frames[first : first + sizes[i % len(sizes)]]
        block = pictures([number for _, number in part])
        yield block, np.array([tick for tick, _ in part], dtype=np.int64)
        block[:] = 255
        first, i = first + len(part), i + 1


@st.composite
def stories(draw: st.DrawFn):
    """What a plan promises, what a decoder gives instead, in which blocks, and the pieces to cut."""
    n = draw(st.integers(1, 40))
    planned = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))) * 2
    end = draw(st.sampled_from([int(planned[-1]) + 2, NEVER]))
    lost = draw(st.sets(st.integers(0, n - 1), max_size=draw(st.sampled_from([0, 3, n]))))
    spare = [t for t in range(0, int(planned[-1]) + 8) if t not in planned]
    extra = draw(st.sets(st.sampled_from(spare), max_size=draw(st.sampled_from([0, 4]))))
    ticks = sorted({int(t) for i, t in enumerate(planned) if i not in lost} | extra)
    frames = list(zip(ticks, range(1, len(ticks) + 1), strict=True))
    run_start = draw(st.integers(0, 5))
    first = draw(st.integers(0, n - 1))
    cuts = draw(st.sets(st.integers(first + 1, n - 1), max_size=5)) if first + 1 < n else set()
    borders = [first, *sorted(cuts), draw(st.integers(max([first, *cuts]) + 1, n))]
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    return Clock(planned, run_start, end), frames, [b + run_start for b in borders], sizes


@quick
@given(story=stories(), before=st.integers(0, 5), after=st.integers(0, 5))
def test_pieces_and_their_surroundings_are_those_of_a_plain_list(story, before: int, after: int) -> None:
    clock, frames, borders, sizes = story
    reader = Reader(blocks_of(frames, sizes), clock, before=before, after=after)

    def between(low: int, high: int) -> list[tuple[int, int]]:
        return [(tick, number) for tick, number in frames if low <= tick < high]

    past = [number for _, number in between(-1, clock.at(borders[0]))]
    for start, stop in itertools.pairwise(borders):
        out = np.full((stop - start, 1, 1, 3), 7, dtype=np.uint8)
        window = reader.piece(start, stop, out)
        here = between(clock.at(start), clock.at(stop))
        own, surplus = here[: stop - start], here[stop - start :]
        following = between(clock.at(stop), clock.at(stop + after)) if after else []
        assert numbers(window.before) == (past[-before:] if before else [])
        assert numbers(window.own) == [number for _, number in own]
        assert window.own.base is not None
        assert np.shares_memory(window.own, out) or not own
        assert numbers(window.after) == [number for _, number in following]
        assert window.ticks.tolist() == [tick for tick, _ in own + following]
        assert window.surplus.tolist() == [tick for tick, _ in surplus]
        assert (out[len(own) :] == 7).all()
        past += [number for _, number in own]
    reader.drain()


@quick
@given(story=stories(), data=st.data())
def test_draining_at_any_point_reads_the_stream_to_its_end(story, data: st.DataObject) -> None:
    clock, frames, borders, sizes = story
    left = blocks_of(frames, sizes)
    reader = Reader(left, clock, before=1, after=2)
    pieces = list(itertools.pairwise(borders))
    for start, stop in pieces[: data.draw(st.integers(0, len(pieces)))]:
        reader.piece(start, stop, np.zeros((stop - start, 1, 1, 3), dtype=np.uint8))
    reader.drain()
    assert next(left, None) is None


def window(before: int, own: int, after: int) -> Window:
    """Return frames numbered from 100, context first."""
    number = iter(range(100, 1000))
    parts = [pictures([next(number) for _ in range(n)]) for n in (before, own, after)]
    return Window(before=parts[0], own=parts[1], after=parts[2], ticks=np.arange(own + after), surplus=np.arange(0))


@quick
@given(
    have=st.tuples(st.integers(0, 6), st.integers(1, 12), st.integers(0, 6)),
    rows=st.integers(1, 4), size=st.integers(1, 5), stride=st.integers(1, 6),
    context=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)  # fmt: skip
def test_spread_repeats_the_end_frames_where_there_are_no_more(
    have: tuple[int, int, int], rows: int, size: int, stride: int, context: tuple[int, int]
) -> None:
    before, own, after = have
    got = window(*have).spread(rows=rows, size=size, stride=stride, context=context)
    wanted = range(-context[0], (rows - 1) * stride + size + context[1])
    assert numbers(got) == [100 + before + min(max(i, -before), own + after - 1) for i in wanted]


def test_spread_by_hand() -> None:
    assert numbers(window(0, 3, 0).spread(rows=1, size=3, stride=3, context=(2, 2))) == [
        100,
        100,
        100,
        101,
        102,
        102,
        102,
    ]
    assert numbers(window(3, 2, 2).spread(rows=2, size=2, stride=1, context=(1, 2))) == [
        102,
        103,
        104,
        105,
        106,
        106,
    ]
    assert numbers(window(1, 9, 0).spread(rows=2, size=2, stride=3, context=(0, 0))) == [
        101,
        102,
        103,
        104,
        105,
    ]


def a_read_range(planned: IntArray, *, start: int, stop_pts: int | None, first_grid_row: int) -> ReadRange:
    return ReadRange(
        span_key="s", boxes=None, start=start, stop=start + len(planned), first_grid_row=first_grid_row,
        pts=pts.pack(planned), stop_pts=stop_pts, key_pts=(90, 107),
    )  # fmt: skip


def test_the_clock_of_a_native_run_counts_half_ticks_from_the_first_frame() -> None:
    source = a_source(first_pts=100, time_base=Fraction(1, 50))
    read_range = a_read_range(np.array([104, 106, 109]), start=2, stop_pts=113, first_grid_row=2)
    clock = clock_of(read_range, source, None)
    assert [clock.at(row) for row in range(2, 8)] == [8, 12, 18, 26, 26, 26]
    endless = clock_of(a_read_range(np.array([104]), start=0, stop_pts=None, first_grid_row=0), source, None)
    assert [endless.at(0), endless.at(1)] == [8, NEVER]
    assert tick_seconds(source, None) == Fraction(1, 100)


def test_the_clock_of_a_numeric_rate_counts_half_grid_steps() -> None:
    source = a_source(first_pts=100, time_base=Fraction(1, 50))
    clock = clock_of(
        a_read_range(np.array([104, 104, 106]), start=2, stop_pts=113, first_grid_row=7), source, Fraction(25, 2)
    )
    assert [clock.at(row) for row in range(2, 7)] == [14, 16, 18, 20, 20]
    assert tick_seconds(source, Fraction(25, 2)) == Fraction(1, 25)


@pytest.mark.parametrize(
    ("start", "stop", "lo", "hi", "grid"),
    [(2, 5, 104, 113, (25, 2, 7, 10)), (3, 4, 106, 109, (25, 2, 8, 9)), (4, 5, 109, 113, (25, 2, 9, 10))],
)
def test_a_request_asks_for_just_the_rows_wanted(
    start: int, stop: int, lo: int, hi: int, grid: tuple[int, int, int, int]
) -> None:
    source = a_source(first_pts=100, uri="/a%20.mp4", counted=True)
    read_range = a_read_range(np.array([104, 106, 109]), start=2, stop_pts=113, first_grid_row=7)
    grid_of = partial(FrameGrid, size=(4, 4), fit="stretch")
    native = request_of(read_range, source, grid_of(fps=None), start=start, stop=stop)
    assert (native.pts_lo, native.pts_hi, native.grid) == (lo, hi, None)
    assert native.seek_pts == (107 if lo == 109 else 90), "the last key frame up to what is read"
    whole = Geometry(rotation=0, crop=(0, 0, 4, 4), scaled=(4, 4), pad=(0, 0), size=(4, 4))
    assert (native.uri, native.counted, native.first_pts) == ("/a%20.mp4", True, 100)
    assert (native.geometry, native.moves, native.source_size) == (whole, (), (4, 4))
    assert request_of(read_range, source, grid_of(fps=Fraction(25, 2)), start=start, stop=stop).grid == grid
    endless = a_read_range(np.array([104, 106, 109]), start=2, stop_pts=None, first_grid_row=7)
    assert request_of(endless, source, grid_of(fps=None), start=2, stop=5).pts_hi is None


SPOOL = """
import errno, os, resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from patchlake.tasks.video.frames import Spool

spool = Spool(Path(sys.argv[1]), (30, 40), lambda shown: shown)
frames = np.ones((10, 30, 40, 3), np.uint8)
if sys.argv[2] == "full":  # as a full disk does: a part is written, and the next write says why
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    cut = 0
else:
    cut = 50_000
try:
    for first in range(0, 30, 10):
        spool.add(frames, np.arange(first, first + 10))
    for link in Path("/proc/self/fd").iterdir() if cut else ():
        if link.is_symlink() and sys.argv[1] in os.readlink(link):
            os.ftruncate(int(link.name), cut)
    for block, _ in spool.blocks():
        assert block.all(), "frames that were never written"
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(("harm", "said"), [("full", "EFBIG"), ("cut off", "EIO")])
def test_frames_that_did_not_get_into_a_file_are_an_error(tmp_path: Path, harm: str, said: str) -> None:
    command = [sys.executable, "-c", SPOOL, str(tmp_path), harm]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{said}\n", "")
