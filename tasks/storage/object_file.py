"""An S3 object as a binary file: read in ranges, never as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.objects import Unreachable, bucket_store, explained, head
from patchlake.tasks.storage.uris import object_of

if TYPE_CHECKING:
    from obstore import GetOptions

FIRST_BYTES = 128 << 10
"""Size of the first range fetched at a new position."""
MOST_BYTES = 2 << 20
"""During sequential reads ranges double in size up to this."""
NUM_RANGES = 4
"""Ranges kept in memory: one each for a container's index, audio and video, and one spare."""


class ObjectFile:
    """An S3 object with a few ranges kept in memory; all are of the version that was opened.

    The first error is raised again at every later read, without asking the store: FFmpeg repeatedly retries a file that
    can't be read, each time for seconds.
    """

    def __init__(self, uri: str, on_read: Callable[[], None] | None = None) -> None:
        self.uri = uri
        self.size, self.version = head(uri)
        bucket, self._key = object_of(uri)
        self.name = self._key.rpartition("/")[2]
        """FFmpeg guesses the format from its suffix, like that of a file."""
        self._store = bucket_store(bucket)
        self._on_read = on_read or (lambda: None)
        self._at = 0
        self._held: list[tuple[int, bytes]] = []
        """Start and bytes of ranges, most recently used first."""
        self._failure: DecodeError | None = None

    def read(self, num_bytes: int, /) -> bytes:
        """Return `num_bytes` bytes, fewer only at the end."""
        parts = []
        while num_bytes > 0 and self._at < self.size:
            start, data = self._range_at(self._at)
            part = data[self._at - start : self._at - start + num_bytes]
            parts.append(part)
            num_bytes -= len(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position and return it; nothing is fetched."""
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def _range_at(self, at: int) -> tuple[int, bytes]:
        for i, (start, data) in enumerate(self._held):
            if start <= at < start + len(data):
                self._held.insert(0, self._held.pop(i))
                return start, data
        before = [len(data) for start, data in self._held if start + len(data) == at]
        num_bytes = min(2 * before[0], MOST_BYTES) if before else FIRST_BYTES
        del self._held[NUM_RANGES - 1 :]
        self._held.insert(0, (at, self._fetch(at, min(at + num_bytes, self.size))))
        return self._held[0]

    def _fetch(self, start: int, stop: int) -> bytes:
        import obstore

        if self._failure:
            raise self._failure
        options: GetOptions = {"range": (start, stop)}
        if self.version:
            options["if_match"] = f'"{self.version}"'
        try:
            with explained(self.uri):
                data = bytes(obstore.get(self._store, self._key, options=options).bytes())
                if len(data) != stop - start:
                    raise Unreachable(f"{self.uri}: the store gave {len(data)} of {stop - start} bytes")
        except DecodeError as exc:
            self._failure = exc
            raise
        self._on_read()
        return data
