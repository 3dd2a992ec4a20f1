"""Figures: said once for people, kept as JSON under keys that stay; older rows are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchlake.tasks.figures import IngestFigures, LightFigures, RunFigures

OLD: dict[str, Any] = {
    "sources": {"ok": 2}, "clips": 5, "pca-flow": {"cells": 12, "rank": 3}, "seconds": {"ingest": 2.0, "all": 3.0},
    "ingest": {
        "frames decoded": 90, "frames re-decoded": 4, "busy seconds": 4.0, "bytes": 2_000_000, "rows": 80, "units": 2,
        "slots": 3, "padding": 0.2, "decode pixels": 1.0, "compute flow": 2.0, "write flow": 0.5, "wait pixels": 0.25,
        "frames/s": 40.0, "light frames/s": 80.0, "measured / light": 0.5, "light parts": {"decode": 0.01},
    },
}  # fmt: skip


def test_json_keeps_its_keys_and_values() -> None:
    again = json.loads(json.dumps(RunFigures.from_json(OLD).to_json()))
    assert again["ingest"].pop("padding") == pytest.approx(0.2)
    ingest = {key: value for key, value in OLD["ingest"].items() if key != "padding"}
    assert again == OLD | {"ingest": ingest}


def test_a_run_that_stored_nothing_says_so() -> None:
    assert ("rows", "none new: nothing was decoded, all is in the lake") in RunFigures(clips=1).rows()
    assert not RunFigures(clips=1).worked


def test_passes_add_up() -> None:
    light = LightFigures(frames_per_second=1.0, light_frames_per_second=2.0)
    one = IngestFigures(rows=10, room=16, seconds={"write": {"pixels": 1.0}}, light=light)
    both = one + IngestFigures(rows=20, room=24, seconds={"write": {"pixels": 2.0, "flow": 3.0}})
    assert (both.rows, both.padding, both.light) == (30, 0.25, light)
    assert both.seconds == {"write": {"pixels": 3.0, "flow": 3.0}}
    assert both.spent("write") == 6.0
