"""The rendered corpus: deterministic, complete, and symmetric under time reversal."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from patchlake.tasks.corpus.synthetic import (
    CLASSES,
    PAIRS,
    CorpusSpec,
    render_corpus,
    render_frames,
    render_scene,
    scene_clips,
    scene_name,
)
from patchlake.tasks.errors import PatchlakeError
from patchlake.tasks.keys import hash01

SMALL = {"num_scenes": 2, "num_frames": 6, "size": (64, 80)}


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_corpus_holds_each_class_of_each_scene_once(tmp_path: Path) -> None:
    videos = render_corpus(tmp_path, processes=2, **SMALL)
    with (tmp_path / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [tmp_path / row["uri"] for row in rows] == videos
    assert len(set(videos)) == 2 * len(CLASSES) == 16
    assert Counter(row["label"] for row in rows) == dict.fromkeys(CLASSES, 2)
    assert Counter(row["group"] for row in rows) == {"scene_0000": 8, "scene_0001": 8}
    assert all(row["uri"] == f"{row['label']}/{row['group']}.mp4" for row in rows)
    for video in videos:
        assert decode(video).shape == (6, 64, 80, 3)
    left_over = {p.name for p in tmp_path.rglob("*") if p.is_file()} - {v.name for v in videos}
    assert left_over == {"manifest.csv", "corpus.json"}


def test_same_seed_same_frames_and_another_seed_others(tmp_path: Path) -> None:
    first = render_corpus(tmp_path / "a", seed=3, processes=1, **SMALL)
    again = render_corpus(tmp_path / "b", seed=3, processes=2, **SMALL)
    other = render_corpus(tmp_path / "c", seed=4, processes=1, **SMALL)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(decode(a), decode(b))
        assert (decode(a) != decode(c)).mean() > 0.5


def test_no_two_videos_have_the_same_bytes(tmp_path: Path) -> None:
    videos = render_corpus(tmp_path, processes=1, **SMALL)
    assert len({hashlib.sha256(v.read_bytes()).digest() for v in videos}) == len(videos)


def test_a_half_rendered_corpus_is_completed_and_a_complete_one_left_alone(tmp_path: Path) -> None:
    videos = render_corpus(tmp_path, processes=1, **SMALL)
    wanted = videos[3].read_bytes()
    videos[3].unlink()
    kept = {v: v.stat().st_mtime_ns for v in videos if scene_name(1) in v.name}
    assert render_corpus(tmp_path, processes=1, **SMALL) == videos
    assert videos[3].read_bytes() == wanted
    complete = {v: v.stat().st_mtime_ns for v in videos}
    assert kept.items() <= complete.items()
    render_corpus(tmp_path, processes=1, **SMALL)
    assert {v: v.stat().st_mtime_ns for v in videos} == complete


def test_another_corpus_is_not_mixed_in(tmp_path: Path) -> None:
    render_corpus(tmp_path, processes=1, **SMALL)
    with pytest.raises(PatchlakeError, match="holds another corpus"):
        render_corpus(tmp_path, processes=1, **(SMALL | {"seed": 1}))


@pytest.mark.parametrize("kind", range(len(PAIRS)))
def test_pair_is_encoded_from_frames_and_their_exact_reversal(kind: int, tmp_path: Path) -> None:
    spec = CorpusSpec(num_frames=5, size=(64, 64))
    made = dict(scene_clips(spec, 7))
    assert set(made) == set(CLASSES)
    backward, forward = (made[label] for label in PAIRS[kind])
    np.testing.assert_array_equal(forward, backward[::-1])
    np.testing.assert_array_equal(forward, render_frames(spec, 7, kind))
    assert (forward[0] != forward[-1]).mean() > 0.5
    render_scene(tmp_path, spec, 7)
    for label, frames in zip(PAIRS[kind], (backward, forward), strict=True):
        shown = decode(tmp_path / label / "scene_0007.mp4")
        apart, reversed_apart = (np.abs(shown.astype(float) - other).mean() for other in (frames, frames[::-1]))
        assert apart < reversed_apart, "a file holds the frames of its class, as far as the encoder keeps them"


def test_kinds_of_a_scene_start_from_the_same_picture() -> None:
    """Only the sensor's noise (sigma at most 7) differs in the first frame, so it can't tell the kind."""
    first = [render_frames(CorpusSpec(num_frames=1), 5, kind)[0].astype(float) for kind in range(len(PAIRS))]
    for other in first[1:]:
        assert np.abs(other - first[0]).mean() < 8
        assert abs((other - first[0]).mean()) < 0.3


def test_enough_sources_are_held_out_by_default() -> None:
    groups = [scene_name(i) for i in range(CorpusSpec().num_scenes)]
    held_out = sum(hash01(group) < 0.25 for group in groups)
    assert 120 <= held_out * len(CLASSES) <= 0.35 * len(groups) * len(CLASSES)
