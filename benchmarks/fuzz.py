"""Damaged videos through a real run: every one gets a verdict, none hangs, no worker is lost.

python benchmarks/fuzz.py [--count 1000] [--seed 0] [--workers 2] [--fps native] [--folder FOLDER]

`count` mutations of five real files, half of them in headers and indexes, and each file cut off at every border of its
parts. A longer run: --count 20000; another one: --seed 1. What is odd is kept in FOLDER.
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import yaml
from corpora import SHARED

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import damaged_files as mutations
from command_line import Done, run_patchlake
from process_watch import Watch

from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.uris import path_of
from patchlake.tasks.types import Reason, Status

WALL_SECONDS, STALL_SECONDS = 20, 5
GRACE_SECONDS = 2
"""For starting and killing a child, on a machine that does other things too."""
LEAST_REASONS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fps", default="native")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-fuzz")
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    corpus, lake = args.folder / "corpus", args.folder / "lake" / "fuzz"
    num_files = write_corpus(corpus, count=args.count, seed=args.seed)
    recipe = args.folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(args)))
    watch, start = Watch(corpus), time.monotonic()
    with watch:
        done = run_patchlake("run", str(recipe), env=watch.env, timeout=12 * 3600)
    print(f"{num_files} files, {time.monotonic() - start:.0f} s, exit {done.code}", flush=True)
    if done.code:
        sys.exit(done.out[-2000:] + done.err[-6000:])
    sources = Tables(Location(str(lake))).sources.rows()
    print_figures(sources, watch)
    verified = run_patchlake("verify", str(lake), timeout=3600)
    print(verified.out.strip())
    wrong = wrongs(sources, watch, verified, num_files=num_files, num_workers=args.workers)
    print("\n".join(f"WRONG: {sentence}" for sentence in wrong) or "all is as it should be")
    sys.exit(bool(wrong))


def write_corpus(folder: Path, *, count: int, seed: int) -> int:
    """Write the damaged files, each named by what was done to it, and return how many there are."""
    folder.mkdir(parents=True)
    files = mutations.real_files(SHARED)
    for i, (name, data) in enumerate(files.items()):
        stem, suffix = os.path.splitext(name)
        share = count * (i + 1) // len(files) - count * i // len(files)
        for k, one in enumerate((*mutations.mutations(data, count=share, seed=seed), *mutations.truncations(data))):
            (folder / f"{stem}-{k:05d}-{one.name}{suffix}").write_bytes(one.data)
    return len(os.listdir(folder))


def recipe_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return a recipe of small frames and short limits."""
    limits = {"wall_seconds": WALL_SECONDS, "stall_seconds": STALL_SECONDS, "max_frames": 5000, "max_seconds": 600}
    return {
        "name": "fuzz",
        "lake": str(args.folder / "lake"),
        "corpus": {"videos": str(args.folder / "corpus")},
        "clips": [{"method": "windows", "seconds": 2.0}],
        "frames": {"size": [16, 24], "fps": args.fps if args.fps == "native" else float(args.fps)},
        "patches": {"size": [8, 8, 8]},
        "features": ["edges"],
        "limits": limits | {"max_pixels": 1 << 22},
        "cluster": {"kind": "local", "workers": args.workers, "dashboard": False},
    }


def print_figures(sources: list[dict[str, Any]], watch: Watch) -> None:
    """Print how often each verdict was given, and what it took."""
    verdicts = collections.Counter(verdict(row) for row in sources)
    for name, count in sorted(verdicts.items(), key=lambda item: -item[1]):
        print(f"{count:6d}  {name}")
    ended = [row for row in sources if row["status"] == "failed"]
    for row in ended:
        print(f"        {verdict(row)}: {Path(row['uri']).name}: {row['message']}")
    print(f"children: {len(watch.children)} seen, {len(ended)} sources ended one; workers: {len(watch.workers)} seen")
    path, seconds = max(watch.seconds.items(), key=lambda item: item[1])
    print(f"slowest: {seconds:.1f} s, {Path(path).name}")


def verdict(row: dict[str, Any]) -> str:
    return ":".join(filter(None, (row["status"], row["reason"])))


def wrongs(
    sources: list[dict[str, Any]], watch: Watch, verified: Done, *, num_files: int, num_workers: int
) -> list[str]:
    """Return a sentence for each thing that should not be."""
    found = []
    if len({path_of(row["uri"]) for row in sources}) != num_files or len(sources) != num_files:
        found.append(f"{len(sources)} rows for {num_files} files")
    for row in sources:
        if row["status"] not in get_args(Status) or row["reason"] not in (None, *get_args(Reason)):
            found.append(f"{row['uri']}: {verdict(row)} is no verdict")
        elif row["status"] == "skipped":
            found.append(f"{row['uri']}: skipped, which this recipe asks for nowhere: {row['message']}")
    reasons = {row["reason"] for row in sources} - {None}
    if len(reasons) < LEAST_REASONS:
        found.append(f"only {len(reasons)} different reasons")
    if len(watch.workers) != num_workers:
        found.append(f"{len(watch.workers)} worker processes were seen; {num_workers} were to live all the time")
    late = {path: seconds for path, seconds in watch.seconds.items() if seconds > WALL_SECONDS + GRACE_SECONDS}
    found += [f"{path} was open for {seconds:.1f} s" for path, seconds in late.items()]
    if verified.code:
        found.append("verify found something")
    return found


if __name__ == "__main__":
    main()
