"""What another package adds by entry points, a file each: used by the command line as what ships is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moving_scenes
import numpy as np
import pytest
import reference_features
import yaml
from command_line import Done

from patchlake.tasks.lake import open_lake
from patchlake.tasks.lake.tables import Tables

PACKAGE = Path(__file__).parent / "support" / "other_package"
OFFERED = {
    "features": "brightness = other_extractor:Brightness",
    "filters": "negative = other_filter:Negative",
    "models": "tiny = other_model:Tiny",
    "objectives": "side = other_objective:Side",
    "reductions": "extremes = other_reduction:Extremes",
    "clips": "thirds = other_clips:Thirds",
    "clusters": "two = other_cluster:TwoWorkers",
    "verbs": "tally = other_verb:tally",
}
"""Family -> its entry point in the other package."""
NUM_CLIPS, NUM_FRAMES = 12, 48


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Lay the package out as pip installs one; return the environment in which it is found."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, site, dirs_exist_ok=True)
    info = site / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    groups = (f"[patchlake.{family}]\n{line}\n" for family, line in OFFERED.items())
    (info / "entry_points.txt").write_text("\n".join(groups))
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Textures that drift to the left or to the right, told by their folders."""
    folder = tmp_path_factory.mktemp("drifting")
    for i in range(NUM_CLIPS):
        name, step = (("left", -3), ("right", 3))[i % 2]
        (folder / name).mkdir(exist_ok=True)
        ground = reference_features.texture(48, 400, seed=i)
        frames = np.stack([ground[:, 160 + step * t :][:, :64] for t in range(NUM_FRAMES)])
        moving_scenes.write(folder / name / f"{i:02d}.mkv", frames, fps=24)
    return folder


def test_another_package_adds_one_of_each(
    patchlake: Callable[..., Done], installed: dict[str, str], corpus: Path, tmp_path: Path
) -> None:
    recipe: dict[str, Any] = {
        "name": "plugged", "lake": str(tmp_path / "lake"), "corpus": {"videos": str(corpus), "labels": "folder"},
        "clips": [{"method": "thirds"}], "frames": {"size": [48, 64], "filters": ["negative"]},
        "patches": {"size": [8, 16, 16]}, "features": [{"kind": "brightness", "offset": 7}],
        "units": {"slot_frames": 64, "slots": 2}, "cluster": {"kind": "two", "dashboard": False},
        "reduce": [{"kind": "extremes", "product": "brightness"}],
        "train": {"task": "side", "model": {"kind": "tiny", "width": 4}, "epochs": 1, "window_frames": 8,
                  "test_fraction": 0.4, "controls": False},
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    done = patchlake("run", str(path), env=installed)
    assert done.code == 0, done.err

    folder = tmp_path / "lake" / "plugged"
    lake = open_lake(folder)
    stored, made = lake.product("pixels"), lake.product("brightness")
    pixels, filled = stored.frames.values, stored.track.values >= 0
    assert pixels[filled].mean() == pytest.approx(128, abs=20), "the negative of a texture around 127"
    rows = made.track.values >= 0
    means = pixels.reshape(-1, 8, *pixels.shape[1:]).mean(axis=(1, 2, 3, 4), dtype=np.float64) + 7
    np.testing.assert_allclose(made.features.values[rows].ravel(), means[rows], rtol=1e-5)

    clips = Tables(lake.location).clips.rows()
    assert len(clips) == 3 * NUM_CLIPS
    lengths = [c["stop_seconds"] - c["start_seconds"] for c in clips]
    assert lengths == pytest.approx([NUM_FRAMES / 24 / 3] * len(clips), abs=1e-3), "Matroska counts milliseconds"

    [reduction] = (folder / "reductions").glob("extremes-brightness*")
    assert reduction.is_dir()
    card = json.loads(next((folder / "models").rglob("model.json")).read_text())
    assert card["architecture"] == "tiny"
    assert card["options"] == {"width": 4}
    assert card["classes"] == ["going left", "going right"], "as the objective says them"
    run = max(Tables(lake.location).runs.rows(), key=lambda row: row["started"])
    assert yaml.safe_load(run["recipe"])["cluster"]["kind"] == "two"

    done = patchlake("tally", str(folder), "--label", "left", env=installed)
    assert (done.code, done.out) == (0, f"{3 * NUM_CLIPS // 2} clips of left\n")
