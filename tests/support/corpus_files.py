"""Helpers for tests of corpora: files of any name, and what is discovered of them."""

from __future__ import annotations

import os
from pathlib import Path

from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.corpus.options import Corpus
from patchlake.tasks.storage.uris import path_of
from patchlake.tasks.types import Source

NAMES = [
    b"plain.mp4", b"with space.mp4", b"'quotes\".mp4", b"two\nlines.mp4", b"tab\t.mp4", b"bad\xff\xfe.mp4",
    "🎬 é.mp4".encode(), b"100%.mp4", b"%41.mp4", b"UPPER.MP4", b"-dash.mp4", b".hidden.mp4",
    b"a;b&c|d$e`f.mp4", b"[glob]*?.mp4",
]  # fmt: skip


def make(folder: Path, *names: str | bytes) -> None:
    """Write files that hold their own name."""
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.path.basename(path))


def found(place: Path | str, labels: str = "none") -> tuple[Source, ...]:
    return discover(Corpus(videos=str(place), labels=labels))


def names_of(sources: tuple[Source, ...], folder: Path) -> list[str]:
    return [os.path.relpath(os.fsdecode(path_of(source.uri)), folder) for source in sources]
