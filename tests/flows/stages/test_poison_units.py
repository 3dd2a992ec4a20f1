"""A clip that ends every process which computes it: it is named, all others are stored, and it can be tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
import yaml
from command_line import Done
from user_extractors import MEAN, PAIRS

from patchlake.tasks.lake.digest import clip_hashes
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location

Run = Callable[..., Done]

FRAGILE = (
    '''
import os
import signal
import time

import numpy as np


class Fragile:
    """Mean of each frame pair; the process ends at a frame whose upper rows are all white."""
'''
    + PAIRS
    + """
    def __call__(self, frames):
        if DEADLY and (frames[:, 2:8] > 180).all(axis=(1, 2, 3)).any():
            HARM"""
    + MEAN
)
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
EAT = "held = [np.ones(10_000_000) for _ in range(10_000) if not time.sleep(0.1)]"  # 0.8 GB a second
NAMES = {"left/a.mp4": 17, "left/bad.mp4": 14, "left/c.mp4": 15, "right/d.mp4": 40, "right/e.mp4": 20}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, num_frames in NAMES.items():
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        start = 4095 - 8 if "bad" in name else 0  # number 4095 has a bar everywhere
        clips.render(tmp_path / "videos" / name, num_frames=num_frames, gop=12, start=start)
    return tmp_path


def recipe(folder: Path, *, deadly: bool, harm: str = DIE, name: str = "small") -> str:
    (folder / "fragile.py").write_text(FRAGILE.replace("DEADLY", str(deadly)).replace("HARM", harm))
    wanted: dict[str, Any] = {
        "name": name,
        "lake": "lake",
        "corpus": {"videos": "videos", "labels": "folder"},
        "clips": [{"method": "windows", "seconds": 1.0}],
        "frames": {"size": [48, 64]},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges", "fragile:Fragile"],
        "units": {"slot_frames": 64, "slots": 2},
        "cluster": {"kind": "local", "workers": 2, "dashboard": False, "memory_limit": "1 GiB"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(wanted))
    return str(folder / "recipe.yaml")


def verdicts(lake: Path) -> dict[str, dict[str, Any]]:
    return {Path(row["uri"]).name: row for row in Tables(Location(str(lake))).sources.rows()}


def values(lake: Path) -> dict[tuple[str, str], bytes]:
    """Hash of the values and times of each product of each clip that has rows."""
    where = Location(str(lake))
    rows = [row for row in Tables(where).clips.rows() if row["row_stop"] > row["row_start"]]
    hashes = dict(clip_hashes(where, rows))
    return {(row["clip_id"], name): hashes[row["clip_id"], name] for row in rows for name in ("pixels", "Fragile")}


def test_a_deadly_clip_is_left_out_and_tried_again_when_asked(patchlake: Run, folder: Path) -> None:
    done = patchlake("run", recipe(folder, deadly=True), "--verbose")
    assert done.code == 0, done.err
    lake = folder / "lake" / "small"
    told = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    (without,) = (line for line in told if line.get("why") == "without_culprits")
    states = [line["state"] for line in told if line["unit_id"] == without["unit_id"]]
    assert len(states) > 2
    assert states == ["retried"] * (len(states) - 1) + ["done"]
    assert told[-1]["short"] == {"crash": 1}
    assert "measured / light" in done.out, "sampled without the clip, which would have ended these workers too"
    found = verdicts(lake)
    assert {name: row["status"] for name, row in found.items()} == {
        Path(name).name: "failed" if "bad" in name else "ok" for name in NAMES
    }
    assert found["bad.mp4"]["reason"] == "crash"
    assert "rows [0, 14) of" in found["bad.mp4"]["message"]
    assert "left/bad.mp4" in found["bad.mp4"]["message"]
    assert patchlake("verify", str(lake)).code == 0
    before = values(lake)

    assert patchlake("run", recipe(folder, deadly=False, name="unbroken")).code == 0
    wanted = values(folder / "lake" / "unbroken")
    bad_id = found["bad.mp4"]["video_id"]
    bad = {row["clip_id"] for row in Tables(Location(str(lake))).clips.rows() if row["video_id"] == bad_id}
    assert bad
    assert before == {key: value for key, value in wanted.items() if key[0] not in bad}

    retried = patchlake("run", recipe(folder, deadly=False), "--retry-failed")
    assert retried.code == 0, retried.err
    assert {row["status"] for row in verdicts(lake).values()} == {"ok"}
    assert values(lake) == wanted
    assert patchlake("verify", str(lake)).code == 0
    assert not Tables(Location(str(lake))).failures.rows()


@pytest.mark.long
def test_a_clip_that_takes_all_memory_is_left_out(patchlake: Run, folder: Path) -> None:
    done = patchlake("run", recipe(folder, deadly=True, harm=EAT))
    assert done.code == 0, done.err
    found = verdicts(folder / "lake" / "small")
    assert {name: row["reason"] for name, row in found.items() if row["status"] != "ok"} == {"bad.mp4": "memory"}
    assert "took more memory than it may" in found["bad.mp4"]["message"]
