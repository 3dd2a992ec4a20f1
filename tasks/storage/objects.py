"""Reading sources: a local file or an S3 object as a binary file, read by ranges and never whole into memory.

The decoding child uses it too, so obstore is imported only where a uri is an object's.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import is_s3, object_of, path_of
from patchlake.tasks.types import Reason

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Store

FIRST_BYTES = 128 << 10
"""The first range that is fetched at a place."""
MOST_BYTES = 2 << 20
"""Ranges double up to here while reading goes on in order."""
NUM_RANGES = 4
"""Ranges kept in memory: one each for a container's index, its sound, its pictures, and one to spare."""
GIVE_UP_SECONDS = 10
"""An answer takes no longer, and no retry begins later: a store that is away costs at most twice as much."""
FILE_REASONS: dict[int, Reason] = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ENAMETOOLONG: "missing",
    errno.EISDIR: "not_video",
    errno.ELOOP: "symlink_loop",
}


class Unreachable(DecodeError):
    """A store can't be reached or does not allow it: that lies not in the video, so a later run tries again."""

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__("unreadable", message)
        self.is_away = is_away
        """The store did not answer at all, so that asking for another object would take as long and not help."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (functools.partial(Unreachable, self.message, is_away=self.is_away), ())


class Readable(Protocol):
    """What both kinds of files can do."""

    def read(self, num_bytes: int, /) -> bytes:
        """Return so many bytes, fewer at the end only."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go somewhere, and return where."""

    def tell(self) -> int:
        """Return where the next read begins."""


def s3_store(url: str, **config: Any) -> S3Store:
    """Return the store of an s3:// URL; credentials and endpoint come from the AWS_* environment alone.

    Only an AWS_ENDPOINT_URL of http:// allows a connection without TLS. `config` is obstore's.
    """
    from obstore.store import S3Store

    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        config["client_options"] = {"allow_http": True, **config.get("client_options", {})}
    return S3Store.from_url(url, **config)


@contextlib.contextmanager
def open_uri(uri: str, on_read: Callable[[], None] | None = None) -> Iterator[Readable]:
    """Open a source for reading; `on_read` is called whenever a range of an object has come.

    Raises DecodeError(missing, ...) and the like, and Unreachable for a store that does not answer.
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
    """Return all bytes of a small file, such as a manifest; raises as `open_uri` does."""
    with open_uri(uri) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return file.read(size)


def head(uri: str) -> tuple[int, str]:
    """Return size in bytes and etag of an S3 object; raises as `open_uri` does."""
    import obstore

    bucket, key = object_of(uri)
    with _asking(uri):
        meta = obstore.head(_patient_store(bucket), key)
    return meta["size"], _version(meta)


def _version(meta: Mapping[str, Any]) -> str:
    """Return an object's etag without its quotes; none where the store gives none that tells bytes apart."""
    etag: str = meta["e_tag"] or ""
    return "" if etag.startswith("W/") else etag.strip('"')


def list_prefix(bucket: str, prefix: str) -> dict[str, tuple[int, str] | None]:
    """Return the keys below a prefix, which is whole parts of keys, with what `head` returns; None: ask for it.

    Raises as `open_uri` does.
    """
    import obstore
    from obstore.exceptions import InvalidPathError

    found: dict[str, tuple[int, str] | None] = {}
    with _asking(f"s3://{bucket}/{prefix}"):
        try:
            for batch in obstore.list(_patient_store(bucket), prefix=prefix or None):
                found |= {meta["path"]: (meta["size"], _version(meta)) for meta in batch}
        except InvalidPathError:  # one key that it can't spell, and it lists none of its page
            return dict.fromkeys(_list_any(bucket, prefix))
    return found


def _list_any(bucket: str, prefix: str) -> list[str]:
    """Return all keys below a prefix, whatever they hold; pyarrow knows names and sizes, but no etags."""
    from pyarrow.fs import FileSelector, S3FileSystem

    scheme, _, host = os.environ.get("AWS_ENDPOINT_URL", "").rpartition("://")
    options = {"endpoint_override": host, "scheme": scheme or "https"} if host else {}
    store = S3FileSystem(connect_timeout=GIVE_UP_SECONDS, request_timeout=GIVE_UP_SECONDS, **options)
    root = f"{bucket}/{prefix}".rstrip("/")
    return [info.path.removeprefix(f"{bucket}/") for info in store.get_file_info(FileSelector(root, recursive=True))
            if info.is_file]  # fmt: skip


class ObjectFile:
    """An S3 object, read by ranges, of which it keeps a few; all are of the version that was opened.

    A failure is final: FFmpeg tries again and again where a file can't be read, each time for seconds.
    """

    def __init__(self, uri: str, on_read: Callable[[], None] | None = None) -> None:
        self.uri = uri
        self.size, self.version = head(uri)
        bucket, self._key = object_of(uri)
        self.name = self._key.rpartition("/")[2]
        """FFmpeg judges by its suffix, as it does with files."""
        self._store = _patient_store(bucket)
        self._on_read = on_read or (lambda: None)
        self._at = 0
        self._held: list[tuple[int, bytes]] = []
        """Start and bytes of ranges, the last used first."""
        self._failure: DecodeError | None = None

    def read(self, num_bytes: int, /) -> bytes:
        """Return so many bytes, fewer at the end only."""
        parts = []
        while num_bytes > 0 and self._at < self.size:
            start, data = self._range_at(self._at)
            part = data[self._at - start : self._at - start + num_bytes]
            parts.append(part)
            num_bytes -= len(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go somewhere, and return where; nothing is fetched."""
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        """Return where the next read begins."""
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
            with _asking(self.uri):
                data = bytes(obstore.get(self._store, self._key, options=options).bytes())
                if len(data) != stop - start:
                    raise Unreachable(f"{self.uri}: the store gave {len(data)} of {stop - start} bytes")
        except DecodeError as exc:
            self._failure = exc
            raise
        self._on_read()
        return data


def _patient_store(bucket: str) -> S3Store:
    return _store(bucket, os.environ.get("AWS_ENDPOINT_URL", ""))


@functools.lru_cache(maxsize=8)
def _store(bucket: str, _endpoint: str) -> S3Store:
    """Keep a bucket's connections; another endpoint is another store."""
    seconds = timedelta(seconds=GIVE_UP_SECONDS)
    return s3_store(
        f"s3://{bucket}",
        client_options={"timeout": seconds, "connect_timeout": seconds / 2},
        retry_config={"max_retries": 8, "retry_timeout": seconds},
    )


@contextlib.contextmanager
def _asking(uri: str) -> Iterator[None]:
    """Turn what obstore raises into a verdict on the object, or on its store."""
    from obstore.exceptions import (
        BaseError,
        InvalidPathError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )

    try:
        yield
    except FileNotFoundError as exc:
        raise DecodeError("missing", "there is no such object") from exc
    except (InvalidPathError, ValueError) as exc:
        message = (
            "keys with control characters, or with parts that are empty, . or .., can't be read; rename the object"
        )
        raise DecodeError("unreadable", message) from exc
    except PreconditionError as exc:
        raise Unreachable(f"{uri}: the object changed while it was read") from exc
    except (PermissionDeniedError, UnauthenticatedError) as exc:
        raise Unreachable(f"{uri}: the object store denies access: {_cause(exc)}") from exc
    except (BaseError, OSError) as exc:
        if "<Code>NoSuchBucket</Code>" in str(exc):
            raise DecodeError("missing", "there is no such bucket") from exc
        raise Unreachable(f"{uri}: reading from the object store failed: {_cause(exc)}", is_away=True) from exc


def _cause(exc: Exception) -> str:
    """Say in one line what obstore says in many."""
    text = str(exc).partition("\n\nDebug source")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    line = " ".join(text.partition("<?xml")[0].split()).rstrip(": ")
    return line[:300] + (f" ({code[1]})" if code else "")
