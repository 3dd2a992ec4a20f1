"""What a run costs beside its work: wall and CPU seconds of a first shard, a first run and a no-op, by two states.

python benchmarks/startup.py [--old 7a3c540] [--files 200] [--pairs 3] [--folder KEPT]

Short rendered files; old and new run in turns on one machine, each with homes of its own. `cold`: no server was
running before; `kept`: right after another run. The old state keeps no server, so both are alike there. CPU seconds are
those of all processes of the run and of its temporary server; they say more than wall seconds on a machine that others
use. Prefect's databases are made before (some 6 CPU seconds, once per PREFECT_HOME).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from same_bytes import ROOT, Code, copied, worktree

import numbered_clips as clips  # isort: skip  same_bytes finds tests/support

POLL_SECONDS = 0.05


@dataclass
class Cost:
    """Of one command."""

    wall: float = 0.0
    first_shard: float = float("nan")
    """Wall seconds until a shard of frames was in the lake."""
    cpu: float = 0.0
    out: str = field(default="", repr=False)


class ProcessTree:
    """CPU seconds of all processes with a mark in their environment, alive or gone, looked at again and again."""

    def __init__(self, mark: str, shards: Path) -> None:
        self.cost = Cost()
        self._mark, self._shards = mark, shards
        self._seconds: dict[tuple[int, float], float] = {}
        self._others: set[int] = set()
        self._begun = time.monotonic()
        self._was_there = shards.exists()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ProcessTree:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._look()
        self.cost.cpu = sum(self._seconds.values())

    def _run(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            self._look()
            is_known = self._was_there or self.cost.first_shard == self.cost.first_shard
            if not is_known and any(self._shards.glob("c/**/*")):
                self.cost.first_shard = time.monotonic() - self._begun

    def _look(self) -> None:
        for pid in set(psutil.pids()) - self._others:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                key = pid, process.create_time()
                if key not in self._seconds and process.environ().get("PATCHLAKE_MARK") != self._mark:
                    self._others.add(pid)
                    continue
                times = process.cpu_times()
                self._seconds[key] = times.user + times.system


def measured(code: Code, recipe: Path, lake: Path, env: dict[str, str]) -> Cost:
    """Run a recipe with a state of the code, and return what it cost."""
    mark = f"{time.monotonic_ns()}"
    marked = {**os.environ, **code.env, **env, "PATCHLAKE_MARK": mark}
    marked.pop("PREFECT_API_URL", None)
    with ProcessTree(mark, lake / "arrays.zarr/pixels/frames") as tree:
        begun = time.monotonic()
        command = [sys.executable, "-m", "patchlake.flows", "run", str(recipe)]
        done = subprocess.run(command, env=marked, capture_output=True, text=True, timeout=300, cwd=code.folder)
        tree.cost.wall = time.monotonic() - begun
    if done.returncode:
        raise SystemExit(f"{code.name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    tree.cost.out = done.stdout + done.stderr
    return tree.cost


def server_seconds(home: Path) -> float:
    """Return the CPU seconds that the kept server of a home took so far: it inherits no mark."""
    found = 0.0
    for process in _servers(home):
        times = process.cpu_times()
        found += times.user + times.system
    return found


def end_servers(home: Path) -> None:
    """End the kept servers of a home."""
    for process in _servers(home):
        process.kill()
        process.wait(20)


def _servers(home: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(home / "servers"):
                yield process


def make_database(home: Path) -> None:
    """Give a PREFECT_HOME its database."""
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, env={**os.environ, "PREFECT_HOME": str(home)}, check=True, capture_output=True)


def rounds(code: Code, corpus: Path, folder: Path) -> dict[str, Cost]:
    """Return what -> cost of: a first run and a no-op without a server before, and both with one."""
    home, prefect = code.folder / "home", code.folder / "prefect"
    env = {"PATCHLAKE_HOME": str(home), "PREFECT_HOME": str(prefect)}
    found: dict[str, Cost] = {}
    for what in ("cold", "kept"):
        name = f"{what}{len(list(folder.iterdir()))}"
        recipe, lake = folder / f"{code.name}-{name}.yaml", folder / f"{code.name}-{name}" / "x"
        wanted = {
            "name": "x", "lake": str(lake.parent), "corpus": {"videos": str(corpus)},
            "clips": [{"method": "windows", "seconds": 1.0}], "frames": {"size": [96, 128]},
            "patches": {"size": [8, 16, 16]}, "features": ["edges"],
            "cluster": {"kind": "local", "workers": 2, "dashboard": False},
        }  # fmt: skip
        recipe.write_text(yaml.safe_dump(wanted))
        if what == "cold":
            end_servers(home)
        before = server_seconds(home)
        found[f"first run, {what}"] = measured(code, recipe, lake, env)
        found[f"first run, {what}"].cpu += server_seconds(home) - before
        if what == "cold":
            end_servers(home)
        before = server_seconds(home)
        found[f"no-op, {what}"] = measured(code, recipe, lake, env)
        found[f"no-op, {what}"].cpu += server_seconds(home) - before
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", default="7a3c540", help="the commit to compare with")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=3, help="how often both are run, in turns")
    parser.add_argument("--folder", type=Path, help="keep everything here; by default a temporary folder")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="startup-")))
        corpus, lakes = folder / "corpus", folder / "lakes"
        corpus.mkdir(parents=True)
        lakes.mkdir()
        for i in range(given.files):
            clips.render(corpus / f"{i:05}.mp4", num_frames=25, start=i)
        source = stack.enter_context(worktree(given.old, folder / "worktree"))
        states = [copied(name, folder / name, at, corpus) for name, at in {"old": source, "new": ROOT}.items()]
        found: dict[tuple[str, str], list[Cost]] = {}
        try:
            for code in states:
                make_database(code.folder / "prefect")
            for i in range(given.pairs):
                for code in states if i % 2 else reversed(states):
                    for what, cost in rounds(code, corpus, lakes).items():
                        print(f"round {i} {code.name} {what}: {cost}", file=sys.stderr, flush=True)
                        found.setdefault((what, code.name), []).append(cost)
        finally:
            for code in states:
                end_servers(code.folder / "home")
        report(found, given.files)


def report(found: dict[tuple[str, str], list[Cost]], files: int) -> None:
    """Print the medians, and old / new."""
    print(f"{files} files of 25 frames; medians of {len(next(iter(found.values())))}; load {os.getloadavg()[1]:.1f}\n")
    print("| | old | new | old / new |\n|---|---|---|---|")
    for what in dict.fromkeys(what for what, _ in found):
        for part in ("first_shard", "wall", "cpu"):
            old, new = (statistics.median(getattr(c, part) for c in found[what, name]) for name in ("old", "new"))
            if new == new:
                label = {"first_shard": "s to the first shard", "wall": "s", "cpu": "CPU s"}[part]
                print(f"| {what}, {label} | {old:.1f} | {new:.1f} | {old / new:.2f} |")


if __name__ == "__main__":
    main()
