"""Discover: the recipe's corpus as sources, one for every file there is, in a stated order."""

from __future__ import annotations

import csv
import errno
import glob
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from patchlake.tasks.errors import NothingFoundError, RecipeError
from patchlake.tasks.recipe import Corpus
from patchlake.tasks.types import Reason, Source
from patchlake.tasks.uris import path_of, uri_of

SUFFIXES = frozenset(
    [
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".flv",
        ".gif",
        ".h264",
        ".h265",
        ".hevc",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
"""What counts as a video in a folder or glob; a file named outright, or in a manifest, counts whatever its name."""
MANIFESTS = frozenset([".csv", ".json", ".parquet"])
COLUMNS = ("uri", "label", "split", "group")


def discover(corpus: Corpus) -> tuple[Source, ...]:
    """Return every source of a corpus, sorted by uri; what can't be read as a file is a source with its reason.

    Raises RecipeError where `corpus.videos` names nothing that exists, NothingFoundError where there is no video in it.
    """
    place = corpus.videos
    if "://" in place:
        raise RecipeError(f"corpus.videos: got {place!r}, expected a file, folder, glob or manifest on this machine")
    path = Path(place)
    if path.suffix.lower() in MANIFESTS and path.is_file():
        found = list(_manifest(path))
    elif path.is_dir():
        found = [_source(p) for p in _walk(os.fsencode(path))]
    elif path.is_file():
        found = [_source(os.fsencode(path))]
    elif glob.has_magic(place):
        found = [_source(os.fsencode(p)) for p in glob.glob(place, recursive=True) if _named_video(os.fsencode(p))]
    else:
        raise RecipeError(f"corpus.videos: {place} does not exist; expected a file, a folder, a glob or a manifest")
    if not found:
        kinds = " ".join(sorted(SUFFIXES))
        raise NothingFoundError(f"corpus.videos: no video in {place}; expected files ending in one of: {kinds}")
    if corpus.labels == "folder":
        parents = [os.path.basename(os.path.dirname(path_of(s.uri))) for s in found]
        found = [_replace(s, label=p.decode(errors="backslashreplace")) for s, p in zip(found, parents, strict=True)]
    elif corpus.labels == "none":
        found = [_replace(s, label=None) for s in found]
    return tuple(sorted(found, key=lambda s: s.uri))


def _walk(root: bytes) -> Iterator[bytes]:
    """Yield files named like videos below a folder; folder links are not followed, so no loop and no way out."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(files) if _named_video(name))


def _named_video(name: bytes) -> bool:
    return os.fsdecode(os.path.splitext(name)[1]).lower() in SUFFIXES


def _source(path: bytes, **columns: Any) -> Source:
    uri = uri_of(os.path.abspath(path))
    try:
        info = os.stat(path)
    except OSError as error:
        reason: Reason = "symlink_loop" if error.errno == errno.ELOOP else "missing"
        return Source(
            uri=uri,
            size=0,
            version="",
            status="rejected",
            reason=reason,
            message=str(error.strerror),
            **columns,
        )
    if not stat.S_ISREG(info.st_mode):
        message = "is not a regular file"
        return Source(uri=uri, size=0, version="", status="rejected", reason="unreadable", message=message, **columns)
    return Source(uri=uri, size=info.st_size, version=str(info.st_mtime_ns), **columns)


def _replace(source: Source, *, label: str | None) -> Source:
    from dataclasses import replace

    return replace(source, label=label)


def _manifest(path: Path) -> Iterable[Source]:
    """Yield the sources that a manifest lists; relative uris are relative to it."""
    for i, row in enumerate(_rows(path)):
        uri = row.get("uri")
        if not uri or not isinstance(uri, str):
            raise RecipeError(f"corpus.videos: {path}, row {i + 1}: got uri {uri!r}, expected a path")
        split = row.get("split") or None
        if split not in (None, "train", "test"):
            raise RecipeError(f"corpus.videos: {path}, row {i + 1}: got split {split!r}, expected train or test")
        columns = {name: str(row[name]) for name in ("label", "split", "group") if row.get(name) not in (None, "")}
        yield _source(os.fsencode(path.parent / uri), **columns)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = _read(path)
    except (ValueError, csv.Error) as error:  # of encodings, JSON and Parquet alike
        raise RecipeError(f"corpus.videos: {path} can't be read as {path.suffix[1:].lower()}: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RecipeError(f"corpus.videos: {path} is not a list of rows with a uri")
    if rows and "uri" not in rows[0]:
        raise RecipeError(f"corpus.videos: {path} has the columns {', '.join(rows[0])}, expected uri and any of "
                          f"{', '.join(COLUMNS[1:])}")  # fmt: skip
    return rows


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    if path.suffix.lower() == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()
