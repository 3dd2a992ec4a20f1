"""Each piece of a unit gets its own frames and those around it, and what broke is said of the piece it broke."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numbered_clips as clips
import numpy as np
from one_video import SIZE, SLOT_FRAMES, Planned, plan_video

from patchlake.tasks import pts
from patchlake.tasks.lake import coordinates
from patchlake.tasks.types import PoisonPiece
from patchlake.tasks.unit.extract import extract_unit
from patchlake.tasks.unit.read import UnitReader
from patchlake.tasks.video.decoder import get_decoder
from patchlake.tasks.video.frames import Window


def reader_of(planned: Planned, reach: tuple[int, int] = (0, 0)) -> UnitReader:
    return UnitReader(planned.job, planned.unit, (), reach)


def all_windows(planned: Planned, reader: UnitReader) -> list[Window]:
    """Read every piece, each into memory of its own."""
    pieces = [piece for slot in planned.unit.pieces for piece in slot]
    found = [reader.read(piece, np.empty((piece.num_rows, *SIZE, 3), np.uint8)) for piece in pieces]
    reader.close()
    return found


def numbers(windows: list[Window]) -> list[list[int]]:
    return [clips.numbers_of(window.own) for window in windows]


def test_pieces_get_their_frames_and_those_around_them(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=40)
    reader = reader_of(planned, (3, 2))
    windows = all_windows(planned, reader)
    assert numbers(windows) == [list(range(16)), list(range(16, 32)), list(range(32, 40))]
    assert [clips.numbers_of(window.before) for window in windows] == [[], [13, 14, 15], [29, 30, 31]]
    assert [clips.numbers_of(window.after) for window in windows] == [[16, 17], [32, 33], []]
    assert [(note.row_start, note.num_rows, note.reason) for note in reader.notes] == [
        (0, 16, None), (16, 16, None), (32, 8, None),
    ]  # fmt: skip
    ticks = np.concatenate([pts.unpack(note.ticks) for note in reader.notes])
    assert (np.diff(ticks) == 2 * 40).all(), "25 fps in half milliseconds"
    assert (reader.num_decoded, reader.num_redecoded) == (40, 0)


def test_a_file_that_is_shorter_than_planned_lacks_its_end(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=40)
    clips.render(planned.path, num_frames=20)
    reader = reader_of(planned)
    assert numbers(all_windows(planned, reader)) == [list(range(16)), list(range(16, 20)), []]
    assert [note.reason for note in reader.notes] == [None, "corrupt", "truncated"]
    assert reader.notes[1].message.startswith("4 of 16 promised frames could be decoded")


def test_frames_that_were_not_promised_are_said_not_stored(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=20)
    clips.render(planned.path, num_frames=23)
    reader = reader_of(planned)
    assert numbers(all_windows(planned, reader)) == [list(range(16)), list(range(16, 20))]
    last = reader.notes[-1]
    assert (last.reason, last.num_rows) == ("count_grew", 4)
    assert pts.unpack(last.surplus).tolist() == [40 * 20, 40 * 21, 40 * 22]


def test_a_file_that_is_no_video_any_more_breaks_every_piece(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=20)
    planned.path.write_bytes(b"no video")
    reader = reader_of(planned)
    assert numbers(all_windows(planned, reader)) == [[], []]
    first, second = reader.notes
    assert first.reason is not None
    assert (second.reason, second.message) == (first.reason, first.message)


def test_a_decoding_child_that_is_killed_once_costs_no_frame(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=400)
    reader = reader_of(planned, (1, 1))
    found = []
    for i, (piece,) in enumerate(planned.unit.pieces):
        if i == 1 and (pid := get_decoder().pid) is not None:
            os.kill(pid, signal.SIGKILL)
        found += clips.numbers_of(reader.read(piece, np.empty((piece.num_rows, *SIZE, 3), np.uint8)).own)
    reader.close()
    assert found == list(range(400))
    assert {note.reason for note in reader.notes} == {None}


def test_pieces_after_one_that_is_left_out_read_past_its_frames(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=40)
    reader = reader_of(planned)
    (first,), (second,), (third,) = planned.unit.pieces
    out = np.empty((SLOT_FRAMES, *SIZE, 3), np.uint8)
    assert clips.numbers_of(reader.read(first, out).own) == list(range(16))
    reader.leave_out(PoisonPiece(span_key=second.span_key, row_start=16, reason="crash", message="left out"))
    assert clips.numbers_of(reader.read(third, out[: third.num_rows]).own) == list(range(32, 40))
    reader.close()
    assert [(note.num_rows, note.reason) for note in reader.notes] == [(16, None), (0, "crash"), (8, None)]


def test_stored_pixels_are_read_without_the_video(tmp_path: Path) -> None:
    planned = plan_video(tmp_path, num_frames=40, features=["edges"])
    result = extract_unit(planned.job, planned.unit)
    seconds = np.concatenate([pts.unpack(frames.ticks) for frames in result.frames]) / 2000
    times = coordinates.RowTimes(product="pixels", row_start=0, track=0, seconds=seconds)
    coordinates.write_times(planned.job.lake, [times])
    planned.path.unlink()
    later = planned.of("edges")
    reader = reader_of(later, (0, 1))
    assert reader.from_store
    windows = all_windows(later, reader)
    assert numbers(windows) == [list(range(16)), list(range(16, 32)), list(range(32, 40))]
    assert [clips.numbers_of(window.after) for window in windows] == [[16], [32], []]
    assert reader.num_decoded == 0
