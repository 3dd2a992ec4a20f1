"""Objects of a bucket: sizes and versions, listings, and the meaning of a store's errors.

The decoding child uses it too, so obstore is imported only when an object is read.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import object_of

if TYPE_CHECKING:
    from obstore.store import S3Store

GIVE_UP_SECONDS = 10
"""Limit of one request, and of the time in which retries may start: an unreachable store costs at most twice this."""


class Unreachable(DecodeError):
    """A store can't be reached or denies access. This says nothing about the video, so a later run tries again."""

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__("unreadable", message)
        self.is_away = is_away
        """Whether the store did not answer at all: requests for other objects would take as long and fail, too."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (functools.partial(Unreachable, self.message, is_away=self.is_away), ())


def s3_store(url: str, **config: Any) -> S3Store:
    """Return the store of an s3:// URL; credentials and endpoint come only from AWS_* variables.

    Plain HTTP is allowed only if AWS_ENDPOINT_URL begins with http://. `config` is passed to obstore.
    """
    from obstore.store import S3Store

    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        config["client_options"] = {"allow_http": True, **config.get("client_options", {})}
    return S3Store.from_url(url, **config)


def bucket_store(bucket: str) -> S3Store:
    """Return a bucket's store for reading sources: the same object, with its connections, while AWS_* is unchanged."""
    return _bucket_store(bucket, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@functools.lru_cache(maxsize=8)
def _bucket_store(bucket: str, _environment: tuple[tuple[str, str], ...]) -> S3Store:
    seconds = timedelta(seconds=GIVE_UP_SECONDS)
    return s3_store(
        f"s3://{bucket}",
        client_options={"timeout": seconds, "connect_timeout": seconds / 2},
        retry_config={"max_retries": 8, "retry_timeout": seconds},
    )


def head(uri: str) -> tuple[int, str]:
    """Return size in bytes and etag of an S3 object; raises the errors of `explained`."""
    import obstore

    bucket, key = object_of(uri)
    with explained(uri):
        meta = obstore.head(bucket_store(bucket), key)
    return meta["size"], _version(meta)


def _version(meta: Mapping[str, Any]) -> str:
    """Return an object's etag without quotes; empty if the store gives none, or a weak one."""
    etag: str = meta["e_tag"] or ""
    return "" if etag.startswith("W/") else etag.strip('"')


def list_prefix(bucket: str, prefix: str) -> dict[str, tuple[int, str] | None]:
    """Return the keys below a prefix (of whole key parts) with the result of `head`; None: unknown, call `head`.

    Raises the errors of `explained`.
    """
    import obstore
    from obstore.exceptions import InvalidPathError

    found: dict[str, tuple[int, str] | None] = {}
    with explained(f"s3://{bucket}/{prefix}"):
        try:
            for batch in obstore.list(bucket_store(bucket), prefix=prefix or None):
                found |= {meta["path"]: (meta["size"], _version(meta)) for meta in batch}
        except InvalidPathError:  # one key that obstore can't represent hides its whole page
            return dict.fromkeys(_list_any(bucket, prefix))
    return found


def _list_any(bucket: str, prefix: str) -> list[str]:
    """Return all keys below a prefix, with any characters; pyarrow can list them, but without etags."""
    from pyarrow.fs import FileSelector, S3FileSystem

    scheme, _, host = os.environ.get("AWS_ENDPOINT_URL", "").rpartition("://")
    options = {"endpoint_override": host, "scheme": scheme or "https"} if host else {}
    store = S3FileSystem(connect_timeout=GIVE_UP_SECONDS, request_timeout=GIVE_UP_SECONDS, **options)
    root = f"{bucket}/{prefix}".rstrip("/")
    infos = store.get_file_info(FileSelector(root, recursive=True))
    return [info.path.removeprefix(f"{bucket}/") for info in infos if info.is_file]


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn obstore's errors into errors about the object (DecodeError) or about its store (Unreachable)."""
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
        raise Unreachable(f"{uri}: the object store denies access: {_one_line(exc)}") from exc
    except (BaseError, OSError) as exc:
        if "<Code>NoSuchBucket</Code>" in str(exc):
            raise DecodeError("missing", "there is no such bucket") from exc
        raise Unreachable(f"{uri}: reading from the object store failed: {_one_line(exc)}", is_away=True) from exc


def _one_line(exc: Exception) -> str:
    """Return the first line of obstore's message, and the code in the store's XML response."""
    text = str(exc).partition("\n\nDebug source")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    line = " ".join(text.partition("<?xml")[0].split()).rstrip(": ")
    return line[:300] + (f" ({code[1]})" if code else "")
