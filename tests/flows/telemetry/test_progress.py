"""Events reach every listener; progress elsewhere than on a terminal is lines on stderr."""

from __future__ import annotations

import pytest

from patchlake.flows.telemetry.events import Event, Listeners, WorkAdvanced, WorkEnded, WorkStarted, counted
from patchlake.flows.telemetry.progress import Lines


def test_items_that_are_counted_are_told_to_all_in_order() -> None:
    first: list[Event] = []
    second: list[Event] = []
    tell = Listeners([first.append, second.append])
    assert list(counted(tell, "probe", "ab", total=2)) == ["a", "b"]
    assert first == [WorkStarted("probe", 2), WorkAdvanced("probe"), WorkAdvanced("probe"), WorkEnded("probe")]
    assert second == first


def test_a_line_says_how_far_the_work_is(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(every_seconds=0.0)
    for event in (WorkStarted("ingest", 2000, "rows"), WorkAdvanced("ingest", 500), WorkEnded("ingest")):
        lines(event)
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(" rows,")[0] for line in said.err.splitlines()] == ["ingest: 500 of 2,000"] * 2
