"""Regions are linked where they overlap most, one to one; boxes follow the links."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlake.tasks import tracks
from patchlake.tasks.features.regions import linking

WINDOW = 4


@dataclass
class Choice:
    min_seconds: float = 0.0
    min_travel: float = 0.0
    most: int = 8
    margin: float = 0.0


@dataclass
class Frame:
    width: int = 200
    height: int = 100


def region(window: int, label: int, overlaps: dict[int, float] | None = None, *, span: str = "s", **more: Any) -> Any:
    seconds = window * WINDOW / 10
    return {
        "region_id": f"{span}{window}.{label}", "span_key": span, "label": label, "row_start": window * WINDOW,
        "row_stop": (window + 1) * WINDOW, "start_seconds": seconds, "last_seconds": seconds + 0.3,
        "stop_seconds": seconds + 0.4, "area": 10.0, "first_box": [0.0, 0.0, 10.0, 10.0],
        "last_box": [0.0, 0.0, 10.0, 10.0], "overlaps": sorted((overlaps or {}).items()), **more,
    }  # fmt: skip


def track_of(rows: list[Any], overlap: float = 0.3) -> dict[str, str]:
    linked = linking.linked(rows, window=WINDOW, overlap=overlap)
    return {row["region_id"]: row["region_track"] for row in linked}


def test_a_region_goes_on_as_what_overlaps_it_most() -> None:
    rows = [
        region(0, 1),
        region(1, 1, {1: 0.4}),
        region(1, 2, {1: 0.5}),
        region(2, 7, {2: 0.3}),
        region(4, 1, {7: 0.9}),
    ]
    assert track_of(rows) == {"s0.1": "s0.1", "s1.1": "s1.1", "s1.2": "s0.1", "s2.7": "s0.1", "s4.1": "s4.1"}
    assert track_of(rows, overlap=0.31)["s2.7"] == "s2.7"
    other = region(1, 1, {1: 0.9}, span="t")
    assert track_of([*rows, other])["t1.1"] == "t1.1", "of another span"


@given(
    shares=st.lists(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.7]), min_size=3, max_size=3), min_size=1, max_size=3),
    order=st.randoms(),
)
def test_links_are_one_to_one_and_largest_in_sum(shares: list[list[float]], order: Any) -> None:
    rows = [region(0, i + 1) for i in range(3)]
    rows += [region(1, j + 1, {i + 1: s for i, s in enumerate(row) if s}) for j, row in enumerate(shares)]
    order.shuffle(rows)
    found = track_of(rows)
    pairs = [(j, i) for j in range(len(shares)) for i in range(3) if found[f"s1.{j + 1}"] == f"s0.{i + 1}"]
    assert len({i for _, i in pairs}) == len(pairs) == len({j for j, _ in pairs})
    assert all(shares[j][i] >= 0.3 for j, i in pairs)
    counted = [[s if s >= 0.3 else 0.0 for s in row] for row in shares]
    best = max(sum(counted[j][i] for j, i in enumerate(p)) for p in permutations(range(3), len(shares)))
    assert sum(counted[j][i] for j, i in pairs) == pytest.approx(best)


def test_boxes_follow_with_one_size_inside_the_frame() -> None:
    rows = [
        region(0, 1, first_box=[10.0, 10.0, 20.0, 10.0], last_box=[40.0, 10.0, 20.0, 20.0]),
        region(1, 1, {1: 0.9}, first_box=[50.0, 10.0, 20.0, 20.0], last_box=[190.0, 90.0, 10.0, 10.0]),
    ]
    linked = linking.linked(rows, window=WINDOW, overlap=0.3)
    (path,) = linking.paths_of(linked, Frame(), Choice(margin=0.25))
    assert path.name == f"region {linked[0]['region_id'][:8]}"
    assert path.seconds == (0.0, 0.3, 0.4, pytest.approx(0.7))
    assert {box[2:] for box in path.boxes} == {(30.0, 30.0)}
    assert path.boxes[0][:2] == (5.0, 0.0), "moved into the frame"
    assert path.boxes[1][:2] == (35.0, 5.0)
    assert path.boxes[3][:2] == (170.0, 70.0), "moved into the frame"
    assert tracks.box_at(path, 0.35)[:2] == pytest.approx((40.0, 5.0))
    assert tracks.is_inside(path, Frame())  # type: ignore[arg-type]


def test_the_black_around_a_letterbox_is_no_track() -> None:
    bar = region(0, 1, first_box=[0.0, -9.0, 200.0, 9.0], last_box=[0.0, -9.0, 200.0, 9.0])
    across = region(0, 2, first_box=[50.0, -9.0, 20.0, 19.0], last_box=[50.0, -9.0, 20.0, 19.0])
    linked = linking.linked([bar, across], window=WINDOW, overlap=0.3)
    (path,) = linking.paths_of(linked, Frame(), Choice())
    assert set(path.boxes) == {(50.0, 0.0, 20.0, 10.0)}


def test_which_tracks_are_chosen() -> None:
    still = [region(w, 1, {1: 1.0} if w else {}, area=50.0) for w in range(3)]
    moving = [
        region(w, 2, {2: 0.5} if w else {}, first_box=[60.0 * w, 0.0, 10.0, 10.0], last_box=[60.0 * w, 0.0, 10.0, 10.0])
        for w in range(2)
    ]
    brief = [region(5, 9)]
    linked = linking.linked([*still, *moving, *brief], window=WINDOW, overlap=0.3)

    def names(choice: Choice) -> list[str]:
        return [path.name.removeprefix("region ") for path in linking.paths_of(linked, Frame(), choice)]

    assert names(Choice()) == ["s0.1", "s0.2", "s5.9"]
    assert names(Choice(min_seconds=0.5)) == ["s0.1", "s0.2"]
    assert names(Choice(min_travel=0.2)) == ["s0.2"], "60 of a diagonal of 224"
    assert names(Choice(min_travel=0.3)) == []
    assert names(Choice(most=1)) == ["s0.1"], "the largest area times seconds"
