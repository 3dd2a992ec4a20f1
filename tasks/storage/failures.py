"""Explains failed reads and writes: the disk is full, or the object store does not answer."""

from __future__ import annotations

import errno

from obstore.exceptions import BaseError

from patchlake.tasks.errors import LakeError
from patchlake.tasks.storage.location import Location

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "file too large", "(os error 28)", "(os error 122)")
_AWAY_WORDS = ("error sending request", "generic s3 error", "connection refused", "error after ")


def explain(error: BaseException, lake: Location) -> LakeError | None:
    """Return an error that says what to do if the lake's disk is full or its store unreachable; None for other errors.

    Errors come from Rust (zarrs, deltalake, obstore) and from workers; they have only their text in common.
    """
    text = f"{type(error).__name__}: {error}".lower()
    if getattr(error, "errno", None) in _FULL or any(words in text for words in _FULL_WORDS):
        return LakeError(
            f"{lake}: there is no room left on the disk ({_line(error)}). What was committed stays and nothing half "
            "done is visible; make room, then run again: it continues from there"
        )
    if not lake.is_local and (isinstance(error, BaseError) or any(words in text for words in _AWAY_WORDS)):
        return LakeError(
            f"{lake}: the object store does not answer ({_line(error)}). What was committed stays and nothing half "
            "done is visible; run again when it is back: it continues from there"
        )
    return None


def _line(error: BaseException) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else line[:200] + " ..."
