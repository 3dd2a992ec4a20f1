"""Each method of a recipe's `clips` cuts what it is about: before decoding, or in stored scores."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchlake.tasks.clips import CLIPS, ClipMethod
from patchlake.tasks.clips.cut import cut, searched
from patchlake.tasks.clips.method import Cuttable, Part, StoredScores
from patchlake.tasks.types import Track

TRACK = Track(track_id="t", video_id="v")
WHOLE = Part(0.0, 6.0, "walk", (("speed", 2.0),))


@dataclass(frozen=True)
class Video:
    """Six seconds at ten frames a second."""

    duration_seconds: float = 6.0
    fps: Fraction = Fraction(10)


def known(**changes: Any) -> Cuttable:
    return Cuttable(**{"video": Video(), "parts": [WHOLE], "events": {}, "extent": WHOLE, **changes})


def method(data: object) -> ClipMethod:
    entry = CLIPS.entry(data, Path("/base"))
    assert isinstance(entry, ClipMethod)
    return entry


def stored(*values: float, channels: tuple[str, ...] = ("score",)) -> StoredScores:
    """One value a second in each of two cells."""
    seconds = np.arange(len(values), dtype=np.float64)
    cells = np.array(values)[:, None, None, None] * np.ones((1, 1, 2, len(channels)))
    return StoredScores(seconds=seconds, values=cells, channels=channels)


def test_windows_lie_in_each_part_and_have_what_is_said_of_it() -> None:
    parts = [WHOLE._replace(stop=4.0), Part(4.0, 6.0, "run")]
    found = method({"seconds": 2.0}).cut(known(parts=parts))
    assert found == [
        Part(0.0, 2.0, "walk", WHOLE.targets),
        Part(2.0, 4.0, "walk", WHOLE.targets),
        Part(4.0, 6.0, "run"),
    ]


def test_events_of_a_file_are_what_of_them_lies_in_the_track() -> None:
    events = {"/base/e.csv": [Part(1.0, 3.0, "a"), Part(5.0, 9.0, "b"), Part(7.0, 8.0, "c")]}
    entry = method({"method": "events", "file": "e.csv"})
    assert entry.events_file == "/base/e.csv"
    assert entry.cut(known(events=events)) == [Part(1.0, 3.0, "a"), Part(5.0, 6.0, "b")]
    assert method("events").events_file is None
    assert method("events").cut(known(events=events)) == [WHOLE], "the manifest's own ranges"


def test_shots_tile_a_part_between_the_cuts_in_stored_scores() -> None:
    entry = method("shots")
    assert (entry.searches, entry.searched_kind) == ("shot_score", "shot_score")
    found = entry.search(stored(0, 0, 90, 0, 0, 0, channels=("content_val", "hist_diff")), WHOLE)
    assert [(part.start, part.stop, part.label) for part in found] == [(0.0, 2.0, "walk"), (2.0, 6.0, "walk")]


@pytest.mark.parametrize("label", [None, "high"])
def test_scores_find_events_and_name_them(label: str | None) -> None:
    entry = method({"method": "scores", "product": "motion", "find": "threshold", "above": 2, "label": label})
    assert (entry.searches, entry.searched_kind) == ("motion", None)
    assert entry.search(stored(0, 3, 3, 0, 5), WHOLE._replace(stop=5.0)) == [
        Part(1.0, 3.0, label or "walk", WHOLE.targets), Part(4.0, 5.0, label or "walk", WHOLE.targets),
    ]  # fmt: skip


def test_what_is_searched_later_is_stored_whole_and_cuts_nothing_before() -> None:
    windows, shots = method({"seconds": 3.0}), method("shots")
    assert shots.cut(known()) == []
    assert searched([windows], [WHOLE]) == []
    assert searched([windows, shots], [WHOLE]) == [WHOLE]


def test_equal_ranges_are_one_clip_with_the_label_of_the_first() -> None:
    methods = [method({"seconds": 3.0}), method({"method": "events", "file": "/e.csv"})]
    clips = cut(TRACK, methods, known(events={"/e.csv": [Part(0.0, 3.0, "late"), Part(1.0, 2.0, "inner")]}))
    assert [(clip.start_seconds, clip.stop_seconds, clip.label) for clip in clips] == [
        (0.0, 3.0, "walk"), (1.0, 2.0, "inner"), (3.0, 6.0, "walk"),
    ]  # fmt: skip


def test_a_method_of_one_s_own_lies_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "halves_of_mine.py").write_text(
        "from patchlake.tasks.clips import ClipMethod\n"
        "class Halves(ClipMethod):\n"
        "    at: float = 0.5\n"
        "    def cut(self, track):\n"
        "        ends = [(p, p.start + self.at * (p.stop - p.start)) for p in track.parts]\n"
        "        return [half for p, t in ends for half in (p._replace(stop=t), p._replace(start=t))]\n"
    )
    entry = CLIPS.entry({"method": "halves_of_mine:Halves", "at": 0.25}, tmp_path)
    assert [(part.start, part.stop) for part in entry.cut(known())] == [(0.0, 1.5), (1.5, 6.0)]
