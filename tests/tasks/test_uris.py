"""Any path becomes a uri of printable ASCII, and the uri the same path again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patchlake.tasks.uris import path_of, uri_of


@settings(max_examples=300, deadline=None)
@given(path=st.binary(max_size=40))
@example(path=bytes(range(1, 256)))
def test_any_bytes_come_back(path: bytes) -> None:
    uri = uri_of(path)
    assert path_of(uri) == path
    assert uri.isascii()
    assert uri.isprintable()


@settings(max_examples=100, deadline=None)
@given(one=st.binary(max_size=6), other=st.binary(max_size=6))
def test_different_paths_have_different_uris(one: bytes, other: bytes) -> None:
    assert (uri_of(one) == uri_of(other)) == (one == other)


def test_printable_ascii_stays_readable() -> None:
    printable = "".join(chr(i) for i in range(32, 127) if chr(i) != "%")
    assert uri_of(printable) == printable


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/a b/c'd\".mp4", "/a b/c'd\".mp4"),
        ("/100%.mp4", "/100%25.mp4"),
        ("/a%20b", "/a%2520b"),
        ("/two\nlines\t", "/two%0Alines%09"),
        ("/é", "/%C3%A9"),
        ("/🎬.mp4", "/%F0%9F%8E%AC.mp4"),
        (b"/\xff\x80", "/%FF%80"),
        (b"/\x7f", "/%7F"),
    ],
)
def test_the_rest_is_percent_encoded(path: str | bytes, uri: str) -> None:
    assert uri_of(path) == uri
    assert path_of(uri) == os.fsencode(path)


def test_a_path_object_is_a_path() -> None:
    assert uri_of(Path("/x/é.mp4")) == "/x/%C3%A9.mp4"
