"""Columns of users' tables: which headers mean what, and what is said of a header that can't be understood."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from patchlake.tasks.corpus.table_files import Row
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.types import Annotation

Meanings = Mapping[str, Sequence[str]]
"""Meaning -> the headers that have it, in `plain` form, the first that a file has counts."""

NAME = ("uri", "video", "file", "path", "filename", "file_name", "video_name", "video_file", "video_path", "video_id",
        "media_file", "media_file_name", "media_file_path", "url")  # fmt: skip
"""Headers that name the video; the first that a table has counts."""
TIMES: Meanings = {
    "start": ("start", "start_seconds", "start_sec", "start_s", "start_time", "start_time_s", "start_timestamp",
              "begin", "begin_time", "begin_time_s", "onset", "t_start", "from"),
    "stop": ("stop", "end", "stop_seconds", "end_seconds", "stop_sec", "end_sec", "stop_s", "end_s", "stop_time",
             "end_time", "stop_time_s", "end_time_s", "stop_timestamp", "end_timestamp", "offset", "t_end", "to"),
    "duration": ("duration", "duration_seconds", "duration_sec", "duration_s"),
    "start_frame": ("start_frame", "frame_start", "begin_frame", "first_frame", "startframe"),
    "stop_frame": ("stop_frame", "end_frame", "frame_stop", "frame_end", "last_frame", "endframe", "stopframe"),
}  # fmt: skip
"""Frames count from 0 at the first displayed frame, and the last one belongs to the range."""
LABEL: Meanings = {
    "label": ("label", "class", "class_name", "action", "behavior", "behaviour", "event", "activity", "category",
              "verb", "tag"),
}  # fmt: skip


def plain(header: object) -> str:
    """Return a header as it is compared: lower case, words joined by one underscore, units without brackets.

    >>> plain(" Start (s)"), plain("endTime"), plain("Media file name"), plain("START-FRAME")
    ('start_s', 'end_time', 'media_file_name', 'start_frame')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(header).strip())
    return re.sub(r"[^0-9a-z\u0080-\uffff]+", "_", words.lower()).strip("_")


def understood(headers: Iterable[object], meanings: Meanings, *, file: str) -> dict[str, str]:
    """Return meaning -> the header of the file that has it; raises RecipeError where two headers mean the same.

    A header that is spelled as the meaning itself is taken before any other.
    """
    given = {str(header): plain(header) for header in headers}
    found: dict[str, str] = {}
    for meaning, spellings in meanings.items():
        having = [header for header, text in given.items() if text in spellings]
        exact = [header for header in having if header == meaning] or [h for h in having if given[h] == meaning]
        if len(having) > 1 and len(exact) != 1:
            both = " and ".join(map(repr, having))
            raise RecipeError(f"{file} has the columns {both}, which both mean {meaning}; take one of them out")
        if having:
            found[meaning] = (exact or having)[0]
    return found


def name_column(headers: Sequence[object], *, file: str) -> str:
    """Return the header that names the video: the first of NAME that a table has."""
    given = {plain(header): str(header) for header in reversed(headers)}
    for spelling in NAME:
        if spelling in given:
            return given[spelling]
    known = ", ".join(NAME[:4])
    raise RecipeError(
        f"{file} has the columns {', '.join(map(str, headers))}, expected one of {known} to name the video"
    )


def target_name(header: str) -> str:
    """Return the name of a number to learn: `target` itself, or what follows `target_`.

    >>> target_name("target"), target_name("target_speed"), target_name("Target Speed")
    ('target', 'speed', 'Speed')
    """
    return re.sub(r"^target[\s_-]+", "", header.strip(), flags=re.IGNORECASE)


def range_of(row: Row, means: Mapping[str, str], *, points: bool = False) -> Annotation:
    """Return the range of a row whose columns mean what `understood` found; with `points` it may last no time."""
    if "start" not in means and "stop" not in means and not means.keys().isdisjoint(("start_frame", "stop_frame")):
        first, last = row.frames(means.get("start_frame"), means.get("stop_frame"))
        return Annotation(start_frame=first, stop_frame=None if last is None else last + 1)
    start, stop = row.range_seconds(means.get("start"), means.get("stop"), points=points)
    if stop is None and "duration" in means and (length := row.seconds(means["duration"])) is not None:
        stop = (start or 0.0) + length
    return Annotation(start_seconds=start, stop_seconds=stop)


def hint(header: object, known: Iterable[str]) -> str | None:
    """Return the known column that a misspelt header is near to, if there is one.

    >>> hint("lable", ["uri", "label"]), hint("person", ["uri", "label"])
    ('label', None)
    """
    close = difflib.get_close_matches(plain(header), list(known), n=1, cutoff=0.75)
    return close[0] if close and close[0] != plain(header) else None
