"""Paths as uris: any bytes that a file system allows, as printable ASCII and back."""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SAFE = "/!$&'()*+,;=:@~ #?\"<>[]{}|^`\\-._"
"""Printable ASCII that stays as it is; only `%`, control characters and bytes past ASCII are encoded."""


def uri_of(path: str | bytes | os.PathLike[str]) -> str:
    """Return the uri of a local path: its bytes, percent-encoded outside of printable ASCII."""
    return quote_from_bytes(os.fsencode(path), safe=_SAFE)


def path_of(uri: str) -> bytes:
    """Return the path that `uri_of` encoded."""
    return unquote_to_bytes(uri)
