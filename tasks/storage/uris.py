"""Uris of sources: converts a local path of any bytes, or any S3 key, to printable ASCII and back.

A local file's uri is its absolute path; an object's is s3://BUCKET/KEY. In both, only `%` and bytes outside printable
ASCII are percent-encoded, so different files never share a uri. Recipes and manifests contain paths and keys
unencoded.
"""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SAFE = "/!$&'()*+,;=:@~ #?\"<>[]{}|^`\\-._"
"""Printable ASCII that stays unchanged; only `%`, control characters and non-ASCII bytes are encoded."""
_S3 = "s3://"


def uri_of(path: str | bytes | os.PathLike[str]) -> str:
    """Return the uri of a local path: its bytes, percent-encoded outside printable ASCII."""
    return quote_from_bytes(os.fsencode(path), safe=_SAFE)


def path_of(uri: str) -> bytes:
    """Return the path that `uri_of` encoded."""
    return unquote_to_bytes(uri)


def is_s3(uri: str) -> bool:
    """Return whether a uri, or a path as written by a user, begins with s3://."""
    return uri.startswith(_S3)


def object_uri(bucket: str, key: str) -> str:
    """Return the uri of an S3 object: the UTF-8 bytes of its key are encoded like those of a path."""
    return f"{_S3}{bucket}/{quote_from_bytes(key.encode(), safe=_SAFE)}"


def object_of(uri: str) -> tuple[str, str]:
    """Return the bucket and the key that `object_uri` encoded."""
    bucket, key = split_s3(uri)
    return bucket, unquote_to_bytes(key).decode()


def split_s3(place: str) -> tuple[str, str]:
    """Return bucket and key of an s3:// URL as written by a user, i.e. unencoded."""
    bucket, _, key = place.removeprefix(_S3).partition("/")
    return bucket, key
