"""The run that nothing happens to: what harmed ones are compared with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numbered_clips as clips
import yaml
from command_line import run_patchlake
from fault_kinds import CLIP_FRAMES, CLIP_NUMBERS, KINDS, NUM_CLIPS, Moment, Part
from user_extractors import MEAN, PAIRS

from patchlake.tasks.lake import digest
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.lake.verify import verify
from patchlake.tasks.storage.location import Location

FRAGILE = (
    '''
import os
import signal
import time

import numpy as np


class Fragile:
    """Mean of each frame pair; the process comes to harm at frames whose number (numbered_clips) is in POISON."""
'''
    + PAIRS
    + """        self.poison = {int(word) for word in os.environ.get("POISON", "").split(",") if word}

    def __call__(self, frames):
        if self.poison & set(numbers_of(frames)):
            harm(os.environ["HARM"])"""
    + MEAN
    + """

def numbers_of(frames):
    _, height, width, _ = frames.shape
    rows = frames[:, height // 16 : height * 3 // 16].mean(axis=(1, 3))
    centres = ((np.arange(12) + 0.5) * width / 12).astype(int)
    return [sum(1 << bit for bit, at in enumerate(centres) if row[at] > 127) for row in rows]


def harm(how):
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "eat":
        held = [np.ones(10_000_000) for _ in range(10_000) if not time.sleep(0.1)]  # 0.8 GB a second
    import torch

    raise torch.AcceleratorError("CUDA error: device-side assert triggered")
"""
)
LEARN: dict[Part, dict[str, Any]] = {
    "ingest": {},
    "reduce": {"reduce": [{"kind": "pca", "feature": "edges", "components": 4}]},
    "train": {"train": {"epochs": 2, "size": [24, 32], "window_frames": 8, "controls": False}},
}
"""What recipes say besides."""


def render_corpus(folder: Path) -> Path:
    """Render as many clips as there shall be units, no two alike, in two folders."""
    for i in range(NUM_CLIPS):
        path = folder / ("left" if i % 2 else "right") / f"{i:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        clips.render(path, num_frames=CLIP_FRAMES, size=(48, 64), gop=9, start=CLIP_NUMBERS * i)
    return folder


def recipe(path: Path, corpus: Path, lake: str, *parts: Part) -> str:
    """Write the recipe and return its path."""
    path.with_name("fragile.py").write_text(FRAGILE)
    wanted: dict[str, Any] = {
        "name": "small",
        "lake": lake,
        "corpus": {"videos": str(corpus), "labels": "folder"},
        "clips": [{"method": "windows", "seconds": 1.0}],
        "frames": {"size": [48, 64]},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges", "fragile:Fragile"],
        "units": {"slot_frames": 32, "slots": 1},
        "cluster": {"kind": "local", "workers": 2, "dashboard": False},
    }
    for part in parts:
        wanted |= LEARN[part]
    path.write_text(yaml.safe_dump(wanted))
    return str(path)


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing happened to."""

    corpus: Path
    lake: Path
    digest: str

    @classmethod
    def run(cls, folder: Path, corpus: Path, env: dict[str, str]) -> Unbroken:
        """Run it, with a reduction and a training at its end."""
        done = run_patchlake("run", recipe(folder / "unbroken.yaml", corpus, f"{folder}/unbroken", *LEARN), env=env)
        assert done.code == 0, done.err
        assert f" in {NUM_CLIPS} units" in done.out
        lake = folder / "unbroken" / "small"
        return cls(corpus, lake, digest.digest(Location(str(lake))).total)

    def copy(self, folder: Path, part: Part) -> None:
        """Copy its lake without what a part of a run makes."""
        drop = shutil.ignore_patterns("report", {"reduce": "reductions", "train": "models"}[part])
        shutil.copytree(self.lake, folder, ignore=drop)


def values(lake: Location) -> dict[tuple[str, str], bytes]:
    """Hash of the values and times of each product of each clip that has rows."""
    rows = [row for row in Tables(lake).clips.rows() if row["row_stop"] > row["row_start"]]
    return dict(digest.clip_hashes(lake, rows))


def learnt(lake: Path, part: Part) -> dict[str, str]:
    """Return what a reduction or a training left: hashes of its files, and figures but for times and places."""
    folder = lake / {"reduce": "reductions", "train": "models"}[part]
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("result.json", "checkpoint.pt")
    }
    assert len(found) >= 2, files
    if part == "train":
        found["result"] = json.dumps(_lasting(json.loads((folder / "result.json").read_text())), sort_keys=True)
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(part) for key, part in value.items() if key not in ("seconds", "model")}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def check(lake: Location, moments: Sequence[Moment], unbroken: Unbroken) -> None:
    """Assert that a lake is what the unbroken run's is; where clips did the harm, but for those."""
    kind = KINDS[moments[0].kind]
    wrong = list(verify(lake))
    assert not wrong, f"{moments}: {wrong[:3]}"
    sources = Tables(lake).sources.rows()
    assert len(sources) == NUM_CLIPS, moments
    reasons = {Path(row["uri"]).name: row["reason"] for row in sources if row["status"] != "ok"}
    if kind.do is not None:
        assert not reasons, f"{moments}: {reasons}"
        found = digest.digest(lake).total
        assert found == unbroken.digest, f"{moments}: got {found}, expected {unbroken.digest}"
    else:
        assert reasons == {moment.point: kind.reason for moment in moments}, f"{moments}: {reasons}"
        bad = {row["video_id"] for row in sources if row["status"] != "ok"}
        lost = {row["clip_id"] for row in Tables(Location(str(unbroken.lake))).clips.rows() if row["video_id"] in bad}
        wanted = {key: part for key, part in values(Location(str(unbroken.lake))).items() if key[0] not in lost}
        assert len(wanted) == 3 * (NUM_CLIPS - len(reasons)), moments
        assert values(lake) == wanted, moments
    if kind.part != "ingest":
        assert learnt(lake.path, kind.part) == learnt(unbroken.lake, kind.part), moments
