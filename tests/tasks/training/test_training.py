"""Training: pure parts by arithmetic, the whole by two real ranks on a toy that only order tells apart."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from patchlake.tasks.models import build
from patchlake.tasks.training import data as data_module
from patchlake.tasks.training.checkpoint import weights_digest
from patchlake.tasks.training.data import ClipFrames, Sampler, open_frames, prefetch
from patchlake.tasks.training.group import Group
from patchlake.tasks.training.job import ClipRows, TrainJob, check
from patchlake.tasks.training.loop import Rank, learning_rate, train
from patchlake.tasks.training.metrics import Score, score_sources, wilson_interval
from patchlake.tasks.training.options import TrainSpec
from patchlake.tasks.training.probe import mean_flow_probe
from patchlake.tasks.training.windows import (
    epoch_order,
    even_starts,
    num_steps,
    random_start,
    rank_share,
    window_rows,
    window_span,
)

CPU = torch.device("cpu")


# -- windows ---------------------------------------------------------------------------------------


@given(clips=st.integers(1, 200), batch=st.integers(1, 40), world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_shares_hold_every_clip_exactly_once(clips: int, batch: int, world: int, epoch: int) -> None:
    order = epoch_order(clips, 0, epoch)
    shares = [
        [rank_share(order, step, batch, rank, world) for step in range(num_steps(clips, batch))]
        for rank in range(world)
    ]
    assert len({len(steps) for steps in shares}) == 1
    assert sorted(np.concatenate([share for steps in shares for share in steps]).tolist()) == list(range(clips))
    for step in zip(*shares, strict=True):
        assert max(map(len, step)) - min(map(len, step)) <= 1
        assert sum(map(len, step)) <= batch


def test_order_depends_on_seed_and_epoch_alone() -> None:
    np.testing.assert_array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert (epoch_order(50, 1, 2) != epoch_order(50, 1, 3)).any()
    assert (epoch_order(50, 1, 2) != epoch_order(50, 2, 2)).any()


@given(rows=st.integers(1, 300), length=st.integers(1, 20), stride=st.integers(1, 4), seed=st.integers(0, 9))
def test_windows_lie_in_the_clip(rows: int, length: int, stride: int, seed: int) -> None:
    span = window_span(length, stride)
    start = random_start(np.random.default_rng(seed), rows, span)
    window = window_rows(rows, start, length, stride)
    assert len(window) == length
    assert 0 <= window.min() <= window.max() < rows
    starts = even_starts(rows, span)
    assert starts[0] == 0
    assert 1 <= len(starts) <= 8
    if rows >= span:
        assert window[-1] - window[0] == span - 1
        assert len(starts) == 1 or starts[-1] + span == rows


def test_short_clips_repeat_their_last_frame() -> None:
    assert window_rows(3, 0, 6, 1).tolist() == [0, 1, 2, 2, 2, 2]
    assert window_rows(5, 0, 4, 2).tolist() == [0, 2, 4, 4]
    assert even_starts(32, 16).tolist() == [0, 16]
    assert even_starts(40, 16).tolist() == [0, 12, 24]


# -- metrics ---------------------------------------------------------------------------------------


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_scipy_s(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert wilson_interval(*counts) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_of_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def clip(source: int, label: int, *, test: bool = True, rows: tuple[int, int] = (0, 8)) -> ClipRows:
    return ClipRows(row_start=rows[0], row_stop=rows[1], label=label, source=source, test=test)


def test_a_source_s_clips_vote_with_their_mean_and_count_once() -> None:
    clips = [clip(0, 0), clip(0, 0), clip(0, 0), clip(1, 1), clip(2, 1), clip(2, 0)]
    logits = np.array([[5.0, 0], [0, 1], [0, 1], [0, 2], [3, 0], [3, 0]])
    score = score_sources(logits, clips)
    assert score.confusion.tolist() == [[2, 0], [1, 1]]
    assert (score.num_correct, score.num_sources, score.accuracy) == (3, 4, 0.75)
    assert score.to_dict()["interval"] == list(wilson_interval(3, 4))
    assert Score(np.eye(3, dtype=np.int64)).accuracy == 1


def test_probe_finds_classes_in_speeds_and_none_in_noise() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(400) % 4
    told = np.exp(label + rng.normal(0, 0.1, 400))
    noise = np.exp(rng.normal(0, 1, 400))
    assert mean_flow_probe(told[:300], label[:300], told[300:], label[300:]) > 0.97
    assert mean_flow_probe(noise[:300], label[:300], noise[300:], label[300:]) < 0.4
    middle = np.where(label[:200] == 0, 5.0, rng.choice([1.0, 25.0], 200)) + rng.normal(0, 0.1, 200)
    two = (label[:200] == 0).astype(int)
    assert mean_flow_probe(middle[:150], two[:150], middle[150:], two[150:]) > 0.95  # not monotone in speed
    with pytest.raises(ValueError, match="two training classes"):
        mean_flow_probe([1, 2], [0, 0], [1], [0])


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, 0.5) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == rates[10] == 0.5
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001


# -- job and recipe --------------------------------------------------------------------------------


def toy_job(folder: Path, *, num_sources: int = 24, **spec: Any) -> TrainJob:
    """Make clips of 8 frames of 16x16 in which a bright bar walks right (0) or left (1) from any column."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 60, (num_sources * 8, 16, 16, 3), dtype=np.uint8)
    clips = []
    for source in range(num_sources):
        first, label = int(rng.integers(16)), source % 2
        for t in range(8):
            column = (first + (t if label == 0 else -t) * 2) % 16
            frames[source * 8 + t, :, [column, (column + 1) % 16]] += 150
        rows = (source * 8, source * 8 + 8)
        clips.append(clip(source, label, test=source % 4 >= 2, rows=rows))
    array = zarr.create_array(folder / "pixels", shape=frames.shape, chunks=(8, 16, 16, 3), dtype="u1")
    array[:] = frames
    return TrainJob(
        pixels=str(folder / "pixels"),
        clips=tuple(clips),
        classes=("right", "left"),
        spec={"window_frames": 8, "batch_size": 5} | spec,
        folder=str(folder / "models"),
        variants=("st_cnn",),
    )


def test_job_survives_json(tmp_path: Path) -> None:
    job = toy_job(tmp_path, epochs=3, size=[8, 8])
    again = TrainJob.from_json(job.to_json())
    assert again == job
    assert again.train_spec == TrainSpec(window_frames=8, batch_size=5, epochs=3, size=(8, 8))
    assert again.digest("st_cnn") == job.digest("st_cnn") != job.digest("shuffled")
    assert dataclasses.replace(job, clips=job.clips[1:]).digest("st_cnn") != job.digest("st_cnn")
    assert dataclasses.replace(job, folder="elsewhere").digest("st_cnn") == job.digest("st_cnn")


def test_recipe_section() -> None:
    spec = TrainSpec.model_validate({"task": "classify", "model": "st_cnn", "epochs": 20, "test_fraction": 0.25})
    assert spec == TrainSpec()
    assert spec.variants == ("st_cnn", "shuffled", "single_frame")
    assert TrainSpec(controls=False).variants == ("st_cnn",)
    assert all(field.description for field in TrainSpec.model_fields.values())
    for wrong in ({"epoch": 3}, {"test_fraction": 1.0}, {"model": "vit"}, {"epochs": 0}):
        with pytest.raises(pydantic.ValidationError):
            TrainSpec.model_validate(wrong)


@pytest.mark.parametrize(
    ("clips", "sentence"),
    [
        ([clip(0, 0, test=False), clip(1, 0), clip(2, 0)], "1 labels among 3 clips"),
        ([clip(0, 0), clip(1, 1)], "No clip is in the train part"),
        ([clip(0, 0, test=False), clip(1, 1, test=False)], "No clip is in the test part"),
        ([clip(0, 0, test=False), clip(1, 0), clip(2, 1)], "one label only (a)"),
        ([clip(0, 0, test=False), clip(1, 1, test=False), clip(2, 2)], "No label is in both"),
        ([clip(0, 0, test=False), clip(1, 1, test=False), clip(1, 1)], "1 sources have clips on both sides"),
        ([clip(0, 0, rows=(3, 3))], "Some clips have no frames"),
        ([], "0 labels"),
        ([clip(0, 0, test=False), clip(1, 1, test=False), clip(2, 1)], None),
    ],
)
def test_check_says_why_not(clips: list[ClipRows], sentence: str | None) -> None:
    job = TrainJob(pixels="", clips=tuple(clips), classes=("a", "b", "c"), spec={}, folder="", variants=("st_cnn",))
    said = check(job)
    assert said is None if sentence is None else sentence in (said or "")


# -- data ------------------------------------------------------------------------------------------


def test_frames_are_the_clip_s_rows_cached_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = toy_job(tmp_path)
    stored = np.asarray(zarr.open_array(job.pixels, mode="r")[:])
    cached = ClipFrames(open_frames(job.pixels), job.clips, None)
    monkeypatch.setattr(data_module, "CACHE_BYTES", 0)
    direct = ClipFrames(open_frames(job.pixels), job.clips, (16, 16))
    rows = np.array([5, 2, 2, 7])
    for frames in (cached, direct):
        np.testing.assert_array_equal(frames(3, rows), stored[24 + rows])
    small = ClipFrames(open_frames(job.pixels), job.clips, (8, 4))(3, rows)
    blocks = stored[24 + rows].reshape(4, 8, 2, 4, 4, 3).mean(axis=(2, 4))
    assert small.shape == (4, 8, 4, 3)
    assert np.abs(small - blocks).max() <= 0.51


def test_variants_see_the_same_frames_in_their_own_way(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    frames = ClipFrames(open_frames(job.pixels), job.clips, None)
    samplers = {v: Sampler(frames, job.clips, job.train_spec, v) for v in ("st_cnn", "shuffled", "single_frame")}
    windows = samplers["st_cnn"].test_windows(np.array([2, 9]))
    assert windows.tolist() == [[2, 0], [9, 0]]
    batches = {v: s.test(windows) for v, s in samplers.items()}
    assert [c.label for c in (job.clips[2], job.clips[9])] == batches["shuffled"].y_B.tolist()
    ordered, shuffled = batches["st_cnn"].x_BTHWC, batches["shuffled"].x_BTHWC
    np.testing.assert_array_equal(ordered[1], frames(9, np.arange(8)))
    assert (ordered != shuffled).any()

    def as_bag(x: np.ndarray) -> Counter[bytes]:
        return Counter(frame.tobytes() for frame in x)

    assert [as_bag(x) for x in ordered] == [as_bag(x) for x in shuffled]
    assert batches["single_frame"].x_BTHWC.shape == (2, 1, 16, 16, 3)
    assert as_bag(batches["single_frame"].x_BTHWC[0]) <= as_bag(ordered[0])


def test_a_training_sample_depends_on_seed_epoch_and_clip_only(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    sampler = Sampler(ClipFrames(open_frames(job.pixels), job.clips, None), job.clips, job.train_spec, "st_cnn")
    pair, alone = sampler.train(np.array([4, 7]), 3), sampler.train(np.array([7]), 3)
    np.testing.assert_array_equal(pair.x_BTHWC[1], alone.x_BTHWC[0])
    np.testing.assert_array_equal(pair.gain_BC[1], alone.gain_BC[0])
    assert (sampler.train(np.array([7]), 4).gain_BC != alone.gain_BC).any()
    empty = sampler.train(np.array([], np.int64), 0)
    assert empty.x_BTHWC.shape == (0, 8, 16, 16, 3)


def test_prefetch_keeps_order_and_passes_errors_on() -> None:
    def fail() -> Any:
        raise OSError("disk")

    assert list(prefetch((lambda i=i: i) for i in range(20))) == list(range(20))  # type: ignore[misc]
    ahead = prefetch(iter([lambda: 1, fail]))  # type: ignore[list-item]
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk"):
        next(ahead)


# -- the loop --------------------------------------------------------------------------------------


class Stopped(Exception):
    """Stands for a kill."""


def run(job: TrainJob, *, stop_after: int | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if event["epoch"] == stop_after:
            raise Stopped

    frames = ClipFrames(open_frames(job.pixels), job.clips, job.train_spec.size)
    return train(job, job.variants[0], frames, Rank(group=Group(), device=CPU, emit=emit)), events


def weights_of(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(result["model"], weights_only=True)
    return state


def figures(curve: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(point["train_loss"], point["test_accuracy"]) for point in curve]


def test_resumed_training_equals_uninterrupted_training(tmp_path: Path) -> None:
    job = toy_job(tmp_path, epochs=4)
    whole, events = run(job)
    assert [(e["event"], e["variant"], e["epoch"]) for e in events] == [("epoch", "st_cnn", i) for i in range(4)]

    job = dataclasses.replace(job, folder=str(tmp_path / "resumed"))
    with pytest.raises(Stopped):
        run(job, stop_after=1)
    resumed, events = run(job)
    assert [e["epoch"] for e in events] == [2, 3]
    assert figures(resumed["curve"]) == figures(whole["curve"])
    assert resumed["confusion"] == whole["confusion"]
    expected = weights_of(whole)
    assert weights_of(resumed).keys() == expected.keys()
    assert all(torch.equal(weights_of(resumed)[name], value) for name, value in expected.items())

    again, events = run(job)  # nothing is left to do, and the results are still there
    assert events == []
    assert again == resumed


def test_another_job_s_checkpoint_is_not_taken_over(tmp_path: Path) -> None:
    job = toy_job(tmp_path, epochs=1)
    run(job)
    _, events = run(dataclasses.replace(job, spec={**job.spec, "seed": 1}))
    assert [e["epoch"] for e in events] == [0]


def test_saved_model_says_how_to_use_it(tmp_path: Path) -> None:
    result, _ = run(toy_job(tmp_path, epochs=1))
    card = json.loads(Path(result["model"]).with_suffix(".json").read_text())
    assert (card["architecture"], card["classes"], card["size"]) == ("st_cnn", ["right", "left"], [16, 16])
    assert (card["window_frames"], card["normalisation"]) == (8, {"mean": 127.5, "scale": 64.0})
    build(card["architecture"], len(card["classes"]), channels=card["channels"]).load_state_dict(weights_of(result))


# -- two real ranks --------------------------------------------------------------------------------


def launch(job_json: str, world_size: int) -> list[subprocess.CompletedProcess[str]]:
    """Run the ranks as a gang launcher does and return how they ended, in the order of their ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"PATCHLAKE_GROUP_TIMEOUT_SECONDS": "60", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "patchlake.tasks.training.rank"]
    ranks = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world_size)
    ]  # fmt: skip
    for rank in ranks:
        assert rank.stdin
        rank.stdin.write(job_json)
        rank.stdin.close()
        rank.stdin = None
    outputs = [rank.communicate() for rank in ranks]
    return [
        subprocess.CompletedProcess(command, rank.returncode, *output)
        for rank, output in zip(ranks, outputs, strict=True)
    ]


def test_two_ranks_learn_what_only_order_tells(tmp_path: Path) -> None:
    job = toy_job(tmp_path, num_sources=96, epochs=12, batch_size=7)
    job = dataclasses.replace(job, variants=("st_cnn", "shuffled", "single_frame"))
    first, second = launch(job.to_json(), 2)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert second.stdout == ""
    events = [json.loads(line) for line in first.stdout.splitlines()]
    assert [e["event"] for e in events] == ["epoch"] * 36 + ["result"]
    result = events[-1]
    assert (result["world_size"], result["num_clips"]) == (2, {"train": 48, "test": 48})
    assert result["variants"]["st_cnn"]["accuracy"] >= 0.95
    state = torch.load(result["variants"]["st_cnn"]["model"], weights_only=True)
    assert weights_digest(state) == result["variants"]["st_cnn"]["weights_digest"]  # of both ranks, or they raise
    for control in ("shuffled", "single_frame"):
        assert result["variants"][control]["accuracy"] <= 0.75
    for figures_of in result["variants"].values():
        assert np.sum(figures_of["confusion"], axis=1).tolist() == [24, 24]
        assert len(figures_of["curve"]) == 12


def test_two_ranks_take_the_steps_that_one_would(tmp_path: Path) -> None:
    """Without batch statistics, the ranks' gradients add up to that of the whole batch."""
    script = """
import os, sys, torch
from patchlake.tasks.training.group import join
group = join()
torch.manual_seed(0)
model, x, y = torch.nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
whole = torch.nn.Linear(4, 3); whole.load_state_dict(model.state_dict())
(torch.nn.functional.cross_entropy(whole(x), y, reduction="sum") / 5).backward()
mine = slice(group.rank, None, group.world_size)
(torch.nn.functional.cross_entropy(model(x[mine]), y[mine], reduction="sum") / 5).backward()
group.add_gradients(model)
torch.testing.assert_close(model.weight.grad, whole.weight.grad)
norm = torch.nn.BatchNorm1d(2); norm.running_mean += group.rank; group.average_buffers(norm)
assert norm.running_mean.tolist() == [0.5, 0.5]
assert group.from_first({"rank": group.rank}) == {"rank": 0}
group.check_equal("same")
try:
    group.check_equal(str(group.rank))
except RuntimeError as error:
    assert "drifted apart" in str(error)
else:
    raise AssertionError
group.wait(); print("equal", model.weight.grad.sum().item(), flush=True); os._exit(0)
"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", script],
            env=os.environ | shared | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    first, second = (rank.communicate()[0] for rank in ranks)
    assert first == second
    assert first.startswith("equal")


def test_a_bad_job_ends_the_rank_with_1_and_a_traceback(tmp_path: Path) -> None:
    job = dataclasses.replace(toy_job(tmp_path), pixels=str(tmp_path / "nowhere"))
    (rank,) = launch(job.to_json(), 1)
    assert rank.returncode == 1
    assert rank.stdout == ""
    assert "Traceback" in rank.stderr
