"""What share of the rows to write no frame fills, by plan, on three corpora. Bars: 5 % where spans are mostly longer
than a slot, 15 % below.

    python benchmarks/padding.py [--folder FOLDER]

Corpora: the real clips (22 files of 51 to 2,330 frames), the action clips (83 files of about 30 to 250 frames), and
long files (stream-copied concatenations of 2,000 frames); with slots of 512 frames, the clips also with slots of 64.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import corpora
import yaml

from patchlake.flows.forecast import plan_recipe


def main() -> None:
    """Print a line per corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "patchlake-bench")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    long = corpora.long_files(args.folder, width=320, height=240, frames=2000)
    clips, actions = corpora.SHARED / "clips", corpora.SHARED / "actions"
    for name, videos, slot_frames in (
        ("clips", clips, 64), ("long files", long, 512), ("clips", clips, 512), ("actions", actions, 512),
    ):  # fmt: skip
        text = {"name": "bench", "lake": str(args.folder / "none"), "corpus": {"videos": str(videos)}}
        recipe = args.folder / "padding.yaml"
        recipe.write_text(yaml.safe_dump({**text, "units": {"slot_frames": slot_frames}}))
        found = plan_recipe(str(recipe))
        mean = found.rows / found.spans_new
        print(
            f"{name}: {found.spans_new} spans of {mean:.0f} frames on average in {found.slots} slots of {slot_frames}: "
            f"padding {found.padding:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
