"""Damaged files through probe and decode: each gets a verdict in time, and the decoder lives on.

benchmarks/fuzz.py does this at length, with real files and in a real run.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import damaged_files as mutations
import numbered_clips as clips
import pytest

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.tracks import fit_frame
from patchlake.tasks.types import Reason, Source
from patchlake.tasks.video.decoder import Decoder, DecodeRequest, Limits
from patchlake.tasks.video.probe import probe_source

LIMITS = Limits(wall_seconds=10, stall_seconds=3, max_frames=5000, max_seconds=600, max_pixels=1 << 22)
KINDS: dict[str, dict[str, Any]] = {
    "a.mp4": {"bframes": 2},
    "a.mkv": {"bframes": 2},
    "a.avi": {"codec": "mpeg4"},
    "a.ts": {"bframes": 2},
    "a.webm": {"codec": "libvpx-vp9"},
}
NUM_MUTATIONS, NUM_TRUNCATIONS = 60, 20
"""Of each kind."""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: clips.render(folder / name, num_frames=30, **options) for name, options in KINDS.items()}


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(LIMITS)
    yield decoder
    decoder.close()


def outcome(decoder: Decoder, path: Path) -> tuple[str | None, int]:
    """Return why a file gives no or fewer frames than promised, and how many it gives."""
    num_rows = 0
    found = probe_source(Source(uri=uri_of(path), size=0, version=""), decoder=decoder)
    if (video := found.video) is None:
        return found.source.reason, 0
    request = DecodeRequest(
        uri=found.source.uri,
        geometry=fit_frame(video, size=(16, 24), fit="crop"),
        time_base=video.time_base,
        first_pts=video.first_pts,
        counted=video.counted,
        pts_lo=video.first_pts,
        source_size=(video.height, video.width),
    )
    try:
        for block in decoder.frames(request):
            num_rows += len(block.frames)
    except DecodeError as error:
        return error.reason, num_rows
    assert decoder.summary is not None
    return decoder.summary.reason or found.source.reason, num_rows


def open_files(decoder: Decoder, folder: Path) -> list[str]:
    """Return the files of a folder that the child has open."""
    if decoder.pid is None:
        return []
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{decoder.pid}/fd")]
    return [link for link in links if link.startswith(str(folder))]


@pytest.mark.parametrize("name", KINDS)
def test_every_damaged_file_gets_a_verdict_in_time(
    decoder: Decoder, rendered: dict[str, Path], tmp_path: Path, name: str
) -> None:
    data = rendered[name].read_bytes()
    cuts = list(mutations.truncations(data))
    damaged = [*mutations.mutations(data, count=NUM_MUTATIONS, seed=0), *cuts[:: -(-len(cuts) // NUM_TRUNCATIONS)]]
    reasons: collections.Counter[str | None] = collections.Counter()
    for i, mutation in enumerate(damaged):
        path = tmp_path / f"{i}-{mutation.name}-{name}"
        path.write_bytes(mutation.data)
        start = time.monotonic()
        reason, num_rows = outcome(decoder, path)
        assert reason is None or reason in get_args(Reason), path
        assert reason is not None or num_rows > 0, path
        assert time.monotonic() - start < 2 * LIMITS.wall_seconds + 2, path
        assert not open_files(decoder, tmp_path), "the child is done with it"
        reasons[reason] += 1
    assert reasons.total() == len(damaged) > NUM_MUTATIONS
    assert len(reasons) >= 3, reasons
    assert outcome(decoder, rendered[name]) == (None, 30)


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_the_same_for_the_same_seed_and_half_of_it_in_indexes(rendered: dict[str, Path], name: str) -> None:
    data = rendered[name].read_bytes()
    found = list(mutations.mutations(data, count=40, seed=1))
    assert found == list(mutations.mutations(data, count=40, seed=1))
    assert len({data, *(mutation.data for mutation in found)}) == 41
    assert sum(mutation.in_index for mutation in found) == 20
    assert found != list(mutations.mutations(data, count=40, seed=2))


def test_parts_are_those_of_the_containers(rendered: dict[str, Path]) -> None:
    names = {name: {part.name for part in mutations.parts(path.read_bytes())} for name, path in rendered.items()}
    assert names["a.mp4"] >= {"ftyp", "moov", "tkhd", "mdhd", "hdlr", "stsd", "avcC", "stts", "ctts", "stsz", "stco"}
    assert names["a.mkv"] >= {"EBML", "Segment", "Info", "Tracks", "TrackEntry", "Video", "Cluster", "Cues", "a3"}
    assert names["a.avi"] >= {"AVI_", "hdrl", "avih", "strh", "strf", "movi", "00dc", "idx1"}
    assert names["a.ts"] >= {"PAT", "PMT", "100"}
    for path in rendered.values():
        data = path.read_bytes()
        last = max(mutations.parts(data), key=lambda part: part.stop)
        assert last.stop == len(data)
