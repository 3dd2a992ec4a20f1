"""Discovery: the recipe's corpus as sources, one per file or object, sorted by uri."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchlake.tasks.corpus.manifest import Entry, read_manifest
from patchlake.tasks.corpus.options import Corpus
from patchlake.tasks.corpus.table_files import SUFFIXES as MANIFESTS
from patchlake.tasks.errors import DecodeError, NothingFoundError, RecipeError
from patchlake.tasks.storage import objects
from patchlake.tasks.storage.reading import FILE_REASONS
from patchlake.tasks.storage.uris import is_s3, object_of, object_uri, path_of, split_s3, uri_of
from patchlake.tasks.types import Reason, Source
from patchlake.tasks.video.formats import SUFFIXES

NUM_ASKED = 32
"""Concurrent requests for the objects that a manifest names."""


def discover(corpus: Corpus) -> tuple[Source, ...]:
    """Return every source of a corpus, sorted by uri; what can't be read as a file is a rejected source with a reason.

    Raises RecipeError if `corpus.videos` does not exist or a manifest is wrong, NothingFoundError if there is no video
    in it, Unreachable if an object store can't be listed.
    """
    place, needs_label = corpus.videos, corpus.labels == "column"
    if is_s3(place):
        found = _in_store(place, needs_label)
    elif "://" in place:
        expected = "expected a file, folder, glob or manifest, or an s3:// URL"
        raise RecipeError(f"corpus.videos: got {place!r}, {expected}")
    else:
        found = _on_disk(place, needs_label)
    if not found:
        kinds = " ".join(sorted(SUFFIXES))
        raise NothingFoundError(f"corpus.videos: no video in {place}; expected files ending in one of: {kinds}")
    if corpus.labels == "folder":
        found = [_labelled(source, _parent_name(source.uri)) for source in found]
    elif corpus.labels == "none":
        found = [_labelled(source, None) for source in found]
    return tuple(sorted(found, key=lambda s: s.uri))


def _labelled(source: Source, label: str | None) -> Source:
    annotations = tuple(replace(annotation, label=label) for annotation in source.annotations)
    return replace(source, label=label, annotations=annotations)


def _parent_name(uri: str) -> str:
    path = "/".join(object_of(uri)).encode() if is_s3(uri) else path_of(uri)
    return os.path.basename(os.path.dirname(path)).decode(errors="backslashreplace")


def _on_disk(place: str, needs_label: bool) -> list[Source]:
    path = Path(place)
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return _listed(read_manifest(place, needs_label=needs_label))
    if needs_label:
        raise _no_manifest(place)
    if path.is_dir():
        return list(_walk(os.fsencode(path)))
    if path.is_file():
        return [_file(os.fsencode(path))]
    if not glob.has_magic(place):
        raise RecipeError(f"corpus.videos: {place} does not exist; expected a file, a folder, a glob or a manifest")
    return [_file(os.fsencode(p)) for p in glob.glob(place, recursive=True) if _named_video(os.fsencode(p))]


def _no_manifest(place: str) -> RecipeError:
    kinds = ", ".join(MANIFESTS)
    return RecipeError(f"corpus.labels: got column, but {place} is no manifest ({kinds}); expected folder or none")


def _in_store(place: str, needs_label: bool) -> list[Source]:
    """Find an object, a manifest, or all objects below a prefix; a prefix matches whole key parts, like a folder."""
    bucket, key = split_s3(place)
    if key and not key.endswith("/"):
        source = _object(object_uri(bucket, key), {})
        if source.status == "failed":
            raise objects.Unreachable(f"corpus.videos: {source.message}")
        if source.reason != "missing":
            is_manifest = os.path.splitext(key)[1].lower() in MANIFESTS
            if is_manifest:
                return _listed(read_manifest(place, needs_label=needs_label))
            if needs_label:
                raise _no_manifest(place)
            return [source]
    if needs_label:
        raise _no_manifest(place)
    prefix = key.rstrip("/")
    try:
        found = objects.list_prefix(bucket, prefix)
    except objects.Unreachable as error:
        raise objects.Unreachable(f"corpus.videos: {error.message}") from error
    except DecodeError as error:
        raise RecipeError(f"corpus.videos: {place} can't be listed: {error.message}") from error
    if not found:
        raise RecipeError(f"corpus.videos: {place} does not exist; expected an object, a prefix or a manifest")
    named = {object_uri(bucket, key): known for key, known in found.items() if _named_video(os.fsencode(key))}
    asked = _objects([uri for uri, known in named.items() if known is None])
    return [Source(uri=uri, size=known[0], version=known[1]) if known else asked[uri] for uri, known in named.items()]


def _listed(entries: Iterable[Entry]) -> list[Source]:
    """Return the sources that a manifest lists."""
    asked = _objects([entry.uri for entry in entries if is_s3(entry.uri)])
    found = []
    for entry in entries:
        source = asked[entry.uri] if is_s3(entry.uri) else _file(path_of(entry.uri))
        columns: dict[str, Any] = {name: getattr(entry, name) for name in ("label", "split", "group", "annotations")}
        found.append(replace(source, **columns))
    return found


def _walk(root: bytes) -> Iterator[Source]:
    """Yield files named like videos below a folder, and folders that can't be listed.

    Folder links are not followed, so there is no loop; a file link that leads out of the root is not followed either.
    """
    unlisted: list[OSError] = []
    real_root = os.path.join(os.path.realpath(root), b"")
    for folder, folders, files in os.walk(root, onerror=unlisted.append):
        folders.sort()
        yield from (_file(os.path.join(folder, name), real_root) for name in sorted(files) if _named_video(name))
    for error in unlisted:
        message = f"the folder can't be listed: {error.strerror}"
        yield _rejected(uri_of(os.path.abspath(os.fsencode(error.filename))), "unreadable", message)


def _named_video(name: bytes) -> bool:
    return os.fsdecode(os.path.splitext(name)[1]).lower() in SUFFIXES


def _rejected(uri: str, reason: Reason, message: str) -> Source:
    return Source(uri=uri, size=0, version="", status="rejected", reason=reason, message=message)


def _file(path: bytes, real_root: bytes = b"/") -> Source:
    """Return a local file as a source; `real_root` is the folder, with a slash at its end, that it must lie in."""
    uri = uri_of(os.path.abspath(path))
    try:
        info = os.stat(path)
    except OSError as error:
        return _rejected(uri, FILE_REASONS.get(error.errno or 0, "unreadable"), str(error.strerror))
    if not os.path.realpath(path).startswith(real_root):
        return _rejected(uri, "outside_root", "the link leads out of the corpus' folder")
    if not stat.S_ISREG(info.st_mode):
        return _rejected(uri, "unreadable", "is not a regular file")
    return Source(uri=uri, size=info.st_size, version=str(info.st_mtime_ns))


def _object(uri: str, away: dict[str, str]) -> Source:
    """Return an S3 object as a source; `away` keeps why a bucket's store did not answer, so it is not asked again."""
    bucket, _ = object_of(uri)
    message = away.get(bucket)
    try:
        if message is None:
            size, version = objects.head(uri)
            return Source(uri=uri, size=size, version=version)
    except objects.Unreachable as error:
        message = error.message
        if error.is_away:
            away[bucket] = message
    except DecodeError as error:
        return _rejected(uri, "missing" if error.reason == "missing" else "unreadable", error.message)
    return Source(uri=uri, size=0, version="", status="failed", reason="unreadable", message=message)


def _objects(uris: Iterable[str]) -> dict[str, Source]:
    """Return S3 objects as sources, by uri; one request each."""
    away: dict[str, str] = {}
    with ThreadPoolExecutor(NUM_ASKED) as pool:
        return {source.uri: source for source in pool.map(lambda uri: _object(uri, away), uris)}
