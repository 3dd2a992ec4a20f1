"""Files that say where something is in videos (boxes), and which sources the names in users' files mean."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PureWindowsPath

from patchlake.tasks.corpus import columns, table_files
from patchlake.tasks.corpus.table_files import Row
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.storage.uris import is_s3, object_of, object_uri, path_of, split_s3, uri_of
from patchlake.tasks.types import Box, BoxPath, Source

_Ends = dict[str, list[tuple[str, str]]]
"""Last part of a path -> the paths that end in it, each with its source's uri."""


def read_boxes(path: str) -> tuple[tuple[str, BoxPath], ...]:
    """Return pairs of a video's name as written and a box path in it, in the order of their first rows.

    Columns: x, y, width, height in upright source pixels; track names the box (default `box`); seconds is the time of
    the box, empty if it never moves; label. Rows of one video and track form one moving box, in order of time.
    """
    rows = table_files.rows(path, says="boxes")
    column = columns.name_column(list(rows[0].cells), file=rows[0].file) if rows else ""
    paths: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        paths.setdefault((row.name(column), row.text("track") or "box"), []).append(row)
    return tuple((name, _path(track, same)) for (name, track), same in paths.items())


def match(names: Iterable[str], sources: Sequence[Source], *, file: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return which source (its uri) each name in a file means, and the names that mean none.

    A name is, in this order: a uri; a path, also relative to the file; the end of the path of exactly one source; the
    same without a suffix, alone or after `v_` (as ActivityNet's files are called); of a Windows path (C:\\DATA\\a.mp4)
    its end or its file name. Raises RecipeError for a name that means several sources, and where no name means any.
    """
    uris = {source.uri for source in sources}
    by_path: _Ends = {}
    by_stem: _Ends = {}
    for uri in uris:
        path = "/" + ("/".join(object_of(uri)) if is_s3(uri) else os.fsdecode(path_of(uri)).lstrip("/"))
        for ends, end in ((by_path, path), (by_stem, os.path.splitext(path)[0])):
            ends.setdefault(posixpath.basename(end), []).append((end, uri))
    found: dict[str, str] = {}
    unmatched = []
    for name in sorted(set(names)):
        candidates = [uri for uri in _spelled_out(name, file) if uri in uris][:1]
        with_v = posixpath.join(posixpath.dirname(name), f"v_{posixpath.basename(name)}")
        candidates = candidates or _ending_in(name, by_path) or _ending_in(name, by_stem) or _ending_in(with_v, by_stem)
        if not candidates and "\\" in name:
            windows = PureWindowsPath(name)
            relative = posixpath.join(*windows.parts[bool(windows.anchor) :])
            candidates = _ending_in(relative, by_path) or _ending_in(windows.name, by_path)
            candidates = candidates or _ending_in(windows.name, by_stem)
        if len(candidates) > 1:
            several = ", ".join(sorted(candidates))
            raise RecipeError(f"{file}: got the video {name!r}, expected a name of one source, not of: {several}")
        if candidates:
            found[name] = candidates[0]
        else:
            unmatched.append(name)
    if unmatched and not found:
        some = ", ".join(map(repr, unmatched[:3]))
        raise RecipeError(
            f"{file}: none of its {len(unmatched)} videos ({some}, ...) is in the corpus, which holds "
            f"{len(uris)} sources such as {min(uris, default='none')}; name them by uri, path or file name"
        )
    return found, tuple(unmatched)


def _spelled_out(name: str, file: str) -> Iterator[str]:
    """Yield the uris that a name may stand for: the name itself, or a path or an object relative to the file."""
    yield name
    try:
        if is_s3(name):
            yield object_uri(*split_s3(name))
        elif is_s3(file) and not name.startswith("/"):
            bucket, key = split_s3(file)
            yield object_uri(bucket, posixpath.normpath(posixpath.join("/", posixpath.dirname(key), name))[1:])
        else:
            yield uri_of(os.path.abspath(os.path.join(os.path.dirname(file), name)))
    except UnicodeEncodeError:
        return


def _ending_in(name: str, ends: _Ends) -> list[str]:
    """Return the uris whose path ends in the whole parts of a name."""
    end = "/" + posixpath.normpath(name).lstrip("/")
    return [uri for path, uri in ends.get(posixpath.basename(end), ()) if path.endswith(end)]


def _path(track: str, rows: Sequence[Row]) -> BoxPath:
    """Join the rows of one video and track, in order of time."""
    timed = [(row.seconds("seconds"), row) for row in rows]
    if len(rows) > 1:
        for seconds, row in timed:
            if seconds is None:
                raise row.error("seconds", f"a time, as the track {track!r} has {len(rows)} rows")
        timed.sort(key=lambda pair: pair[0] or 0.0)
    for (before, one), (after, other) in itertools.pairwise(timed):
        if before == after:
            raise other.error("seconds", f"another time than row {one.number}, which is of the same video and track")
    labels = {row.text("label"): row for row in rows if row.has("label")}
    if len(labels) > 1:
        first, other = list(labels.values())[:2]
        raise other.error("label", f"{first.text('label')!r} as in row {first.number}: a track has one label")
    return BoxPath(
        name=track,
        seconds=tuple(seconds for seconds, _ in timed if seconds is not None),
        boxes=tuple(_box(row) for _, row in timed),
        label=next(iter(labels), None),
    )


def _box(row: Row) -> Box:
    numbers = [row.number_of(column) for column in ("x", "y", "width", "height")]
    for column, number in zip(("x", "y", "width", "height"), numbers, strict=True):
        if number is None:
            raise row.error(column, "a finite number of source pixels")
        if column in ("width", "height") and number <= 0:
            raise row.error(column, "a number of source pixels > 0")
    x, y, width, height = (number or 0.0 for number in numbers)
    return x, y, width, height
