"""Write the kept lakes anew, by the code of before: python tests/kept/make.py CHECKOUT [NAME ...]

CHECKOUT is a worktree of commit 7a3c540 (`git worktree add --detach CHECKOUT 7a3c540`).
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import yaml

KEPT = Path(__file__).resolve().parent
sys.path.insert(0, str(KEPT.parent / "support"))

import numbered_clips as clips  # noqa: E402

SHARED: dict[str, Any] = {
    "lake": "lake",
    "units": {"slot_frames": 32, "slots": 2},
    "cluster": {"kind": "local", "workers": 1, "dashboard": False},
    "patches": {"size": [4, 8, 8]},
}


def render(folder: Path, **num_frames: int) -> None:
    """Write clips whose pixels tell their frames' numbers; `more` is the video that a test adds."""
    (folder / "videos").mkdir()
    for name, count in num_frames.items():
        target = folder if name == "more" else folder / "videos"
        clips.render(target / f"{name}.mkv", num_frames=count, size=(48, 64), gop=12)


def boxes(folder: Path) -> dict[str, Any]:
    """Tracks that stay and that move, windows and events, native rate."""
    render(folder, a=40, b=30, more=20)
    (folder / "boxes.csv").write_text(
        "uri,track,seconds,x,y,width,height\n"
        "videos/a.mkv,whole,,0,0,64,48\n"
        "videos/a.mkv,moving,0,0,0,32,24\nvideos/a.mkv,moving,1.6,32,24,32,24\n"
        "videos/b.mkv,whole,,0,0,64,48\n"
    )
    (folder / "events.csv").write_text("uri,start,stop,label\nvideos/a.mkv,0.4,1.2,jump\nvideos/b.mkv,0.0,0.6,run\n")
    return {
        "corpus": {"videos": "videos"},
        "tracks": {"boxes": "boxes.csv"},
        "clips": [{"method": "events", "file": "events.csv"}, {"method": "windows", "seconds": 0.8}],
        "frames": {"size": [24, 32]},
        "features": ["edges", "motion"],
    }


def learnt(folder: Path) -> dict[str, Any]:
    """Labelled windows at a numeric rate, regions, a reduction and a model."""
    render(folder, a=40, b=40, c=30, d=30, more=20)
    rows = ("a,up,train", "b,down,train", "c,up,test", "d,down,test")
    (folder / "videos.csv").write_text(
        "uri,label,split\n" + "".join(f"videos/{r.replace(',', '.mkv,', 1)}\n" for r in rows)
    )
    return {
        "corpus": {"videos": "videos.csv", "labels": "column"},
        "clips": [{"method": "windows", "seconds": 0.8}],
        "frames": {"size": [24, 32], "fps": 10},
        "features": ["color", "regions"],
        "reduce": [{"kind": "pca", "feature": "color", "components": 2}],
        "train": {"epochs": 1, "window_frames": 4, "size": [12, 16], "controls": False},
    }


LAKES = {"boxes": boxes, "learnt": learnt}


def write(name: str, checkout: Path) -> None:
    """Write one kept lake: its videos and recipe, and what the code of `checkout` made of them."""
    with tempfile.TemporaryDirectory() as place:
        package, folder = Path(place) / "package" / "patchlake", Path(place) / name
        package.mkdir(parents=True)
        folder.mkdir()
        (package / "__init__.py").touch()
        for part in ("flows", "tasks", "cluster"):
            (package / part).symlink_to(checkout.resolve() / part)
        (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": name, **SHARED, **LAKES[name](folder)}))
        env = {**os.environ, "PYTHONPATH": str(package.parent), "PREFECT_HOME": f"{place}/prefect"}
        command = [sys.executable, "-m", "patchlake.flows", "run", str(folder / "recipe.yaml")]
        subprocess.run(command, env=env, check=True, cwd=place)
        shutil.rmtree(folder / "lake" / name / "report")
        for state in folder.rglob("checkpoint.pt"):  # 3.5 MB that a finished training reads no more
            state.unlink()
        with (
            lzma.open(KEPT / f"{name}.tar.xz", "wb", preset=9) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(folder, name)


if __name__ == "__main__":
    for name in sys.argv[2:] or LAKES:
        write(name, Path(sys.argv[1]))
