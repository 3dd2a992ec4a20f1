"""What a corpus is, where files of equal content, bad files and the lake's memory meet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
from in_process import ingest

from patchlake.tasks.lake.verify import verify

SHORT: dict[str, Any] = {
    "corpus": {"videos": "videos"}, "clips": [{"method": "windows", "seconds": 0.4, "stride_seconds": 0.8}],
}  # fmt: skip
LONG: dict[str, Any] = {"corpus": {"videos": "videos"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus of two names for one content."""
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos/a.mkv", num_frames=40, gop=8)
    shutil.copy(tmp_path / "videos/a.mkv", tmp_path / "videos/b.mkv")
    return tmp_path


def spoil(path: Path) -> None:
    """Replace what a file holds; size and time of the last change stay, as when a disk decays."""
    known = path.stat()
    path.write_bytes(bytes(known.st_size))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


@pytest.mark.parametrize("harm", [spoil, Path.unlink])
@pytest.mark.parametrize("name", ["a", "b"])
def test_the_other_name_of_a_content_carries_it_on(folder: Path, harm: Any, name: str) -> None:
    ingest(folder, SHORT)
    harm(folder / f"videos/{name}.mkv")
    done = ingest(folder, LONG)
    other = {"a": "b", "b": "a"}[name]
    status = {Path(row["uri"]).stem: row["status"] for row in done.tables.sources.rows()}
    assert status[other] == "ok"
    assert status.get(name) in (None, "rejected", "duplicate")
    video_id = next(iter(done.ledger.videos))
    assert clips.numbers_of(done.array("pixels/frames")[done.track_rows(video_id)])[-40:] == list(range(40))
    assert not list(verify(done.lake))
    assert ingest(folder, LONG).num_decoded == 0


def test_a_content_none_of_whose_names_can_be_read_is_left_out(folder: Path) -> None:
    ingest(folder, SHORT)
    spoil(folder / "videos/a.mkv")
    spoil(folder / "videos/b.mkv")
    done = ingest(folder, LONG)
    assert [row["status"] for row in done.tables.sources.rows()] == ["rejected", "rejected"]
