"""Reading sources: a local file or an S3 object, opened by its uri."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.object_file import ObjectFile
from patchlake.tasks.storage.uris import is_s3, path_of
from patchlake.tasks.types import Reason

FILE_REASONS: dict[int, Reason] = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ENAMETOOLONG: "missing",
    errno.EISDIR: "not_video",
    errno.ELOOP: "symlink_loop",
}
"""errno of opening a file -> the source's reason; `unreadable` for any other."""


class Readable(Protocol):
    """Common interface of a file and an object."""

    def read(self, num_bytes: int, /) -> bytes:
        """Return `num_bytes` bytes, fewer only at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position and return it."""

    def tell(self) -> int:
        """Return the position of the next read."""


@contextlib.contextmanager
def open_uri(uri: str, on_read: Callable[[], None] | None = None) -> Iterator[Readable]:
    """Open a source for reading; `on_read` is called after each fetched range of an object.

    Raises DecodeError with a reason, e.g. missing, and Unreachable for a store that does not answer.
    """
    if is_s3(uri):
        yield ObjectFile(uri, on_read)
        return
    try:
        file: BinaryIO = open(path_of(uri), "rb")  # noqa: SIM115
    except OSError as exc:
        reason = FILE_REASONS.get(exc.errno or 0, "unreadable")
        raise DecodeError(reason, f"the file can't be read: {exc.strerror}") from exc
    with file:
        yield file


def read_whole(uri: str) -> bytes:
    """Return all bytes of a small file, e.g. a manifest; raises the errors of `open_uri`."""
    with open_uri(uri) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return file.read(size)
