"""Any path becomes a uri of printable ASCII, and the uri the same path again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patchlake.tasks.storage.uris import is_s3, object_of, object_uri, path_of, split_s3, uri_of


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


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=300, deadline=None)
@given(key=KEYS)
@example(key="a%20b/100% é🎬\n\x7f//../'\"?#.mp4")
def test_any_key_comes_back(key: str) -> None:
    uri = object_uri("bucket", key)
    assert object_of(uri) == ("bucket", key)
    assert uri.startswith("s3://bucket/")
    assert uri.isascii()
    assert uri.isprintable()


@settings(max_examples=100, deadline=None)
@given(one=KEYS, other=KEYS)
def test_different_keys_have_different_uris(one: str, other: str) -> None:
    assert (object_uri("b", one) == object_uri("b", other)) == (one == other)


def test_users_name_keys_as_they_are() -> None:
    assert split_s3("s3://bucket/100% é/a%20b.mp4") == ("bucket", "100% é/a%20b.mp4")
    assert split_s3("s3://bucket") == split_s3("s3://bucket/") == ("bucket", "")
    assert [is_s3(place) for place in ("s3://b/a.mp4", "/s3://b/a.mp4", "S3", "/a.mp4")] == [True, False, False, False]
