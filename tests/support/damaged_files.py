"""Damaged copies of video files: the same ones for the same seed, half of them damaged in headers and indexes.

    for mutation in mutations.mutations(data, count=200, seed=0):
        (folder / f"{mutation.name}.mp4").write_bytes(mutation.data)

A file is seen as its container's parts (mp4 boxes, Matroska elements, RIFF chunks, transport stream packets), so that
damage hits a table as often as a megabyte of pictures, and truncation every border.
"""

from __future__ import annotations

import hashlib
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

REAL = (
    "clips/arm_wrestling.mp4",  # mp4, H.264 with B frames
    "clips/apply_eye_makeup.avi",  # AVI, MPEG-4
    "clips/flipping_pancake.mkv",  # Matroska, H.264
    "clips/highway_48x48_raw.avi",  # AVI, raw pictures
    "nasty-dev/no_keyframe_start.ts",  # transport stream, H.264
)
"""Five real files below ../shared/videos, the last in nasty.tar: containers and codecs that differ."""


class Part(NamedTuple):
    """A box, element, chunk or packet."""

    name: str
    start: int
    body: int
    """Where its own header ends."""
    stop: int
    is_index: bool
    """Tells how to read others, rather than being coded pictures or sound."""


class Mutation(NamedTuple):
    """A damaged copy."""

    name: str
    """What was done, and to which part."""
    data: bytes
    in_index: bool


def real_files(shared: Path) -> dict[str, bytes]:
    """Return the five files by name."""
    found = {}
    with tarfile.open(shared / "nasty.tar") as tar:
        for name in REAL:
            member = tar.extractfile(name) if name.startswith("nasty-dev/") else (shared / name).open("rb")
            assert member is not None
            with member:
                found[Path(name).name] = member.read()
    return found


def mutations(data: bytes, *, count: int, seed: int) -> Iterator[Mutation]:
    """Yield `count` mutations of a file; every second one lies in a header or an index."""
    dice = random.Random(f"{seed} {len(data)}")
    indexes = [part for part in parts(data) if part.is_index]
    anywhere = Part("anywhere", 0, 0, len(data), False)
    seen = {_hash(data)}  # damage may change nothing, or the same twice
    while len(seen) <= count:
        part = dice.choice(indexes) if len(seen) % 2 else anywhere
        damage = dice.choice(DAMAGES)
        damaged = bytearray(data)
        damage(dice, damaged, part)
        if _hash(damaged) not in seen:
            seen.add(_hash(damaged))
            yield Mutation(f"{damage.__name__}-{part.name}", bytes(damaged), part.is_index)


def _hash(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).digest()


def truncations(data: bytes) -> Iterator[Mutation]:
    """Yield the file cut off at every border of its parts, at every level; those of pictures have one, their end."""
    borders = {
        at: part for part in parts(data) for at in (part.start, part.body, part.stop)[0 if part.is_index else 2 :]
    }
    for at in sorted(borders):
        if 0 < at < len(data):
            yield Mutation(f"truncated-{borders[at].name}", data[:at], borders[at].is_index)


def _place(dice: random.Random, part: Part, size: int) -> int:
    """Return where `size` bytes of a part begin; bytes at its start, where sizes and counts stand, are as likely."""
    last = max(part.start, part.stop - size)
    near = min(part.body + 16, last)
    return dice.randint(part.start, near if part.is_index and dice.random() < 0.5 else last)


def _extent(dice: random.Random, part: Part) -> tuple[int, int]:
    """Return a range of a part: mostly short, rarely most of it."""
    length = part.stop - part.start
    size = min(length, int(2 ** dice.uniform(0, 6 if dice.random() < 0.7 else max(1, length.bit_length() - 1))))
    start = _place(dice, part, size)
    return start, start + size


def flipped(dice: random.Random, data: bytearray, part: Part) -> None:
    """Turn one to eight bits over."""
    for _ in range(dice.randint(1, 8)):
        data[_place(dice, part, 1)] ^= 1 << dice.randrange(8)


def filled(dice: random.Random, data: bytearray, part: Part) -> None:
    """Set a run of bytes to 0 or to 255."""
    start, stop = _extent(dice, part)
    data[start:stop] = bytes([dice.choice((0, 255))]) * (stop - start)


def random_bytes(dice: random.Random, data: bytearray, part: Part) -> None:
    """Set a run of bytes to noise."""
    start, stop = _extent(dice, part)
    data[start:stop] = dice.randbytes(stop - start)


def extreme(dice: random.Random, data: bytearray, part: Part) -> None:
    """Replace an integer by one that sums, products and casts overflow on."""
    size = dice.choice((1, 2, 4, 4, 4, 8))
    value = dice.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)) & (256**size - 1)
    at = _place(dice, part, size)
    at -= (at - part.body) % size if at >= part.body else 0
    data[at : at + size] = value.to_bytes(size, dice.choice(("big", "little")))


def cut_out(dice: random.Random, data: bytearray, part: Part) -> None:
    """Leave a range out."""
    start, stop = _extent(dice, part)
    del data[start:stop]


def doubled(dice: random.Random, data: bytearray, part: Part) -> None:
    """Repeat a range."""
    start, stop = _extent(dice, part)
    data[stop:stop] = data[start:stop]


def swapped(dice: random.Random, data: bytearray, part: Part) -> None:
    """Let two ranges change places."""
    first, stop = _extent(dice, part)
    second = _place(dice, part, stop - first)
    here, there = data[first:stop], data[second : second + stop - first]
    data[first:stop] = there
    data[second : second + stop - first] = here


DAMAGES: tuple[Callable[[random.Random, bytearray, Part], None], ...] = (
    flipped, filled, random_bytes, extreme, extreme, cut_out, doubled, swapped,
)  # fmt: skip


def parts(data: bytes) -> list[Part]:
    """Return the parts of a file in any of the containers known here, parents before their children."""
    if data[4:8] in (b"ftyp", b"moov"):
        return list(_boxes(data, 0, len(data)))
    if data.startswith(b"\x1aE\xdf\xa3"):
        return list(_elements(data, 0, len(data)))
    if data.startswith(b"RIFF"):
        return list(_chunks(data, 0, len(data)))
    assert data[0] == data[188] == 0x47, "neither mp4, Matroska, AVI nor transport stream"
    return list(_packets(data))


_BOXES_OF_BOXES = {
    b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"edts": 0, b"dinf": 0, b"udta": 0, b"moof": 0,
    b"traf": 0, b"mvex": 0, b"stsd": 8, b"dref": 8, b"avc1": 78, b"mp4v": 78, b"hev1": 78, b"hvc1": 78,
}  # fmt: skip
"""Where the first box in it begins, after its own header."""


def _boxes(data: bytes, start: int, stop: int) -> Iterator[Part]:
    """Yield mp4 boxes: size and kind, four bytes each (ISO 14496-12, 4.2)."""
    while start + 8 <= stop:
        size, kind, body = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8]), body + 8
        end = start + size if body <= start + size <= stop else stop
        is_pictures = kind in (b"mdat", b"free", b"skip", b"wide")
        yield Part(_name(kind), start, body, end, not is_pictures)
        if kind in _BOXES_OF_BOXES:
            yield from _boxes(data, body + _BOXES_OF_BOXES[kind], end)
        start = end


_ELEMENTS_OF_ELEMENTS = {
    0x1A45DFA3: "EBML", 0x18538067: "Segment", 0x114D9B74: "SeekHead", 0x4DBB: "Seek", 0x1549A966: "Info",
    0x1654AE6B: "Tracks", 0xAE: "TrackEntry", 0xE0: "Video", 0x1C53BB6B: "Cues", 0xBB: "CuePoint",
    0xB7: "CueTrackPositions", 0x1F43B675: "Cluster", 0xA0: "BlockGroup",
}  # fmt: skip


def _elements(data: bytes, start: int, stop: int, is_index: bool = True) -> Iterator[Part]:
    """Yield Matroska elements: identity and size, each as many bytes as leading zero bits tell (RFC 8794, 4)."""
    while start + 2 <= stop and data[start]:
        width = 9 - data[start].bit_length()
        kind, at = int.from_bytes(data[start : start + width]), start + width
        if at >= stop or not data[at]:
            return
        width = 9 - data[at].bit_length()
        size, body = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1), at + width
        end = min(stop, body + size)
        holds_others = kind in _ELEMENTS_OF_ELEMENTS
        about_others = is_index and kind != 0x1F43B675
        is_whole_file = kind == 0x18538067
        yield Part(_ELEMENTS_OF_ELEMENTS.get(kind, f"{kind:x}"), start, body, end, about_others and not is_whole_file)
        if holds_others:
            yield from _elements(data, body, end, about_others)
        start = end


def _chunks(data: bytes, start: int, stop: int, is_index: bool = True) -> Iterator[Part]:
    """Yield RIFF chunks: kind and size, four bytes each, little-endian, padded to even places."""
    while start + 8 <= stop:
        kind, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        end = min(stop, start + 8 + size)
        if kind in (b"RIFF", b"LIST"):
            kind = data[start + 8 : start + 12]
            about_others = is_index and kind != b"movi"
            yield Part(_name(kind), start, start + 12, end, about_others and kind != b"AVI ")
            yield from _chunks(data, start + 12, end, about_others)
        else:
            yield Part(_name(kind), start, start + 8, end, is_index and kind != b"JUNK")
        start = end + size % 2


def _packets(data: bytes) -> Iterator[Part]:
    """Yield transport stream packets; indexes are the tables of programs, and of a program (ISO 13818-1, 2.4.4)."""
    maps: set[int] = set()
    for start in range(0, len(data) - 187, 188):
        pid = int.from_bytes(data[start + 1 : start + 3]) & 0x1FFF
        body = start + 4
        if pid == 0:
            maps.add(int.from_bytes(data[start + 15 : start + 17]) & 0x1FFF)  # of the first program
        name = "PAT" if pid == 0 else "PMT" if pid in maps else f"{pid:x}"
        yield Part(name, start, body, start + 188, name in ("PAT", "PMT"))


def _name(kind: bytes) -> str:
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else "_" for byte in kind)
