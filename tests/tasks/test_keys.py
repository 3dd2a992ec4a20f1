"""Keys tell all work apart that differs, and are the same on every machine and in every version."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from patchlake.tasks import keys
from patchlake.tasks.types import BoxPath

A_BOX = BoxPath(name="b", boxes=((0.0, 0.0, 1.0, 1.0),))
BASE = {
    "video_id": "v",
    "boxes": None,
    "start_seconds": 0.0,
    "stop_seconds": 2.0,
    "frames": {"size": [8, 8], "fps": "native"},
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def test_a_digest_is_the_hash_of_compact_sorted_json() -> None:
    assert keys.digest("a", 1, 2.5, None, {"z": True, "a": [1, "é"]}) == sha(
        '["a",1,2.5,null,{"a":[1,"\\u00e9"],"z":true}]'
    )
    assert keys.digest({"a": 1, "b": 2}) == keys.digest({"b": 2, "a": 1})
    assert keys.digest((1, 2)) == keys.digest([1, 2])
    assert keys.digest("ab", "c") != keys.digest("a", "bc")


def test_golden_keys() -> None:
    track = keys.track_id("v", None)
    assert track == sha('["track","v",null]')
    fixed = BoxPath(name="b", boxes=((0.0, 1.0, 2.0, 3.5),))
    assert keys.track_id("v", fixed) == sha('["track","v",[0.0,1.0,2.0,3.5]]')
    assert keys.track_id("v", replace(fixed, name="c", label="x")) == keys.track_id("v", fixed)
    moving = replace(fixed, seconds=(0.5,))
    assert keys.track_id("v", moving) == sha('["track","v",[[[0.0,1.0,2.0,3.5]],[0.5]]]')
    assert keys.clip_id(track, 0.0, 2.0) == sha(f'["clip","{track}",0.0,2.0]')
    assert keys.clip_id(track, 0.0, 2.0, "run") == sha(f'["clip","{track}",0.0,2.0,"run"]')
    frames = '{"fps":"native","size":[8,8]}'
    assert keys.span_key(**BASE) == sha(f'["span","v",null,0.0,2.0,{frames},{keys.DECODE_VERSION}]')
    assert keys.product_key("s", "p") == sha('["product","s","p"]')


def test_each_part_of_a_span_key_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [
        {}, {"video_id": "w"}, {"boxes": A_BOX}, {"start_seconds": 0.5}, {"stop_seconds": 2.5},
        {"frames": {"size": [8, 9], "fps": "native"}}, {"frames": {"size": [8, 8], "fps": 25.0}},
    ]  # fmt: skip
    found = [keys.span_key(**{**BASE, **change}) for change in changes]
    monkeypatch.setattr(keys, "DECODE_VERSION", keys.DECODE_VERSION + 1)
    found.append(keys.span_key(**BASE))
    assert len(set(found)) == len(changes) + 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_no_key(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        keys.digest(bad)


def test_hash01_is_the_first_64_bits_of_the_hash() -> None:
    # printf a | sha256sum: ca978112ca1bbdca...
    assert keys.hash01("a") == 0xCA978112CA1BBDCA / 2**64
    values = [keys.hash01(f"group-{i}") for i in range(4000)]
    assert all(0 <= v < 1 for v in values)
    assert sum(v < 0.25 for v in values) / 4000 == pytest.approx(0.25, abs=0.03)
