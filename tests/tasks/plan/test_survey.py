"""The survey: which sources are read at all, what becomes of each, and what the lake knows of it already."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numbered_clips as clips
import pytest
from in_process import Ingested, ingest, open_dataset, survey_of
from tiny_lakes import LENGTHS, TINY, name_of, videos_in

from patchlake.tasks.corpus.discover import discover
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.given import read_given
from patchlake.tasks.plan.survey import Survey, survey, to_probe
from patchlake.tasks.types import Source, Video
from patchlake.tasks.video.probe import Probed, probe_source


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest(videos_in(tmp_path_factory.mktemp("tiny")), TINY)


@pytest.fixture
def folder(once: Ingested, tmp_path: Path) -> Path:
    """A copy of the lake and its videos: at another place, so that the sources are other ones."""
    shutil.copytree(Path(once.dataset.recipe.lake).parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def asked(dataset: Dataset) -> list[str]:
    """Return the names of the sources that have to be read."""
    sources = discover(dataset.recipe.corpus)
    return [name_of(source.uri) for source in to_probe(dataset, sources, read_given(dataset.recipe, sources))]


def statuses(found: Survey) -> dict[str, tuple[str, str | None]]:
    return {name_of(source.uri): (source.status, source.reason) for source, _ in found.sources}


def test_of_an_empty_lake_every_source_is_read_and_of_a_full_one_none(once: Ingested) -> None:
    place = Path(once.dataset.recipe.lake).parent
    assert asked(open_dataset(place, {**TINY, "name": "new"})) == ["a", "b", "c"]
    assert asked(open_dataset(place, TINY)) == []


def test_a_video_is_what_its_packets_promise(once: Ingested) -> None:
    names = {video_id: name_of(source.uri) for source, video_id in once.survey.sources}
    found = {names[key]: (video.num_frames, video.duration_seconds) for key, video in once.survey.videos.items()}
    assert found == {Path(name).stem: (n, pytest.approx(n / 25)) for name, n in LENGTHS.items()}
    assert set(once.survey.indexes) == set(once.survey.videos), "all were probed in that run"
    again = survey_of(open_dataset(Path(once.dataset.recipe.lake).parent, TINY))
    assert again.indexes == {}
    assert (again.videos, again.wanted) == (once.survey.videos, once.survey.wanted)


def test_other_times_of_known_videos_are_read_again_other_features_and_labels_are_not(once: Ingested) -> None:
    place = Path(once.dataset.recipe.lake).parent
    assert asked(open_dataset(place, {**TINY, "features": ["edges", "color"]})) == []
    assert asked(open_dataset(place, {**TINY, "clips": [{"seconds": 0.4}]})) == [], "they cover the same spans"
    shorter = {**TINY, "clips": [{"seconds": 0.4, "stride_seconds": 0.8}]}
    assert asked(open_dataset(place, shorter)) == ["a", "b", "c"]


def test_a_source_whose_bytes_changed_is_read_again(tmp_path: Path) -> None:
    ingest(videos_in(tmp_path), TINY)
    clips.render(tmp_path / "videos" / "left" / "a.mp4", num_frames=32, size=(32, 32), start=900)
    dataset = open_dataset(tmp_path, TINY)
    assert asked(dataset) == ["a"]
    found = survey_of(dataset)
    assert len(found.videos) == 4, "what the file held before is still in the lake"
    assert sorted(round(25 * found.videos[one.track.video_id].duration_seconds) for one in found.wanted.values()) == [
        24, 30, 32,
    ]  # fmt: skip


def test_copies_are_duplicates_of_the_first_by_uri(tmp_path: Path) -> None:
    videos_in(tmp_path)
    shutil.copy(tmp_path / "videos" / "left" / "a.mp4", tmp_path / "videos" / "left" / "z.mp4")
    found = survey_of(open_dataset(tmp_path, TINY))
    assert statuses(found) == dict.fromkeys("abc", ("ok", None)) | {"z": ("duplicate", None)}
    assert len(found.wanted) == len(found.frame_sources) == 3
    message = next(source.message for source, _ in found.sources if source.status == "duplicate")
    assert message.endswith("left/a.mp4")


def test_a_video_shorter_than_the_limit_is_skipped_with_both_numbers(tmp_path: Path) -> None:
    found = survey_of(open_dataset(videos_in(tmp_path), {**TINY, "limits": {"min_seconds": 1.0}}))
    assert statuses(found) == {"a": ("ok", None), "b": ("skipped", "too_short"), "c": ("ok", None)}
    message = next(source.message for source, _ in found.sources if source.status == "skipped")
    assert "0.96 s" in message
    assert "limits.min_seconds = 1" in message
    assert len(found.wanted) == 2


LOST = {"status": "failed", "reason": "crash", "message": "ended 3 workers"}
BAD = {"status": "rejected", "reason": "not_video", "message": "no streams"}


@pytest.mark.parametrize(("before", "read"), [(LOST, ["a"]), (BAD, [])], ids=["the machine's fault", "the file's"])
def test_only_what_the_machine_did_is_tried_again(folder: Path, before: Mapping[str, Any], read: list[str]) -> None:
    dataset = open_dataset(folder, TINY)
    sources = discover(dataset.recipe.corpus)
    (one,) = (source for source in sources if name_of(source.uri) == "a")
    others = [source for source in sources if source is not one]
    known = {(source.uri, source.size, source.version): (source, video_of(dataset, source)) for source in others}
    known[one.uri, one.size, one.version] = (replace(one, **before), None)
    dataset.ledger.sources = known
    given = read_given(dataset.recipe, sources)
    assert [name_of(source.uri) for source in to_probe(dataset, sources, given)] == read
    found = survey(dataset, sources, {}, given)
    if not read:
        assert statuses(found)["a"] == ("rejected", "not_video"), "the earlier verdict stands"
    probed = survey(dataset, sources, {one.uri: probe_source(one)}, given)
    assert statuses(probed)["a"] == ("ok", None), "what was read now counts"


def video_of(dataset: Dataset, source: Source) -> str:
    """Return the video of a length that is known, since the names of folders differ between copies."""
    frames = LENGTHS[next(name for name in LENGTHS if Path(name).stem == name_of(source.uri))]
    return next(key for key, video in dataset.ledger.videos.items() if video.num_frames == frames)


def test_a_source_that_could_not_be_probed_has_the_probes_verdict_and_no_video(once: Ingested) -> None:
    dataset = open_dataset(Path(once.dataset.recipe.lake).parent, {**TINY, "name": "new"})
    sources = discover(dataset.recipe.corpus)
    videos = {source.uri: probe_source(source) for source in sources}
    gone = sources[0].uri
    probed = {**videos, gone: Probed.lost(sources[0], "ended 3 workers")}
    found = survey(dataset, sources, probed, read_given(dataset.recipe, sources))
    assert statuses(found)["a"] == ("failed", "crash")
    assert [video_id for source, video_id in found.sources if source.uri == gone] == [None]
    assert len(found.videos) == 2


def test_what_was_cut_off_stays_partial_when_it_is_not_read_again(folder: Path) -> None:
    dataset = open_dataset(folder, TINY)
    sources = discover(dataset.recipe.corpus)
    cut = {"status": "partial", "reason": "truncated", "message": "10 of 24 frames"}
    dataset.ledger.sources = {
        (source.uri, source.size, source.version): (
            replace(source, **(cut if name_of(source.uri) == "b" else {})),
            video_of(dataset, source),
        )
        for source in sources
    }
    found = survey(dataset, sources, {}, read_given(dataset.recipe, sources))
    assert statuses(found)["b"] == ("partial", "truncated")
    assert len(found.wanted) == 3, "what there is of it is wanted"


def test_frames_are_read_from_the_first_source_of_a_video(once: Ingested) -> None:
    for source, video_id in once.survey.sources:
        frame_source = once.survey.frame_sources[str(video_id)]
        video: Video = once.survey.videos[str(video_id)]
        assert (frame_source.uri, frame_source.width, frame_source.height) == (source.uri, 32, 32)
        assert (frame_source.time_base, frame_source.first_pts) == (video.time_base, video.first_pts)
        assert frame_source.hidden == ()
