"""Training: a job is a value; the loop resumes; two real ranks learn what only order tells."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import toy_job

from patchlake.tasks import models
from patchlake.tasks.loading.reader import ClipFrames, open_frames
from patchlake.tasks.objectives.classify import ClassifyOptions
from patchlake.tasks.objectives.heads import MeanLinear
from patchlake.tasks.training.checkpoint import weights_digest
from patchlake.tasks.training.group import Group
from patchlake.tasks.training.job import TrainJob
from patchlake.tasks.training.loop import Rank, learning_rate, train
from patchlake.tasks.training.split import is_test

CPU = torch.device("cpu")


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, 0.5) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == rates[10] == 0.5
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001


def test_job_survives_json(tmp_path: Path) -> None:
    job = toy_job(tmp_path, epochs=3, size=[8, 8])
    again = TrainJob.from_json(job.to_json())
    assert again == job
    assert again.train_options == ClassifyOptions(window_frames=8, batch_size=5, epochs=3, size=(8, 8))
    assert again.digest("st_cnn") == job.digest("st_cnn") != job.digest("shuffled")
    assert dataclasses.replace(job, clips=job.clips[1:]).digest("st_cnn") != job.digest("st_cnn")
    assert dataclasses.replace(job, folder="elsewhere").digest("st_cnn") == job.digest("st_cnn")


def test_keys_are_those_of_trainings_made_before(tmp_path: Path) -> None:
    """Made with commit 7a3c540: the digests of the toy job's variants."""
    job = toy_job(tmp_path)
    assert job.digest("st_cnn") == "e4fe09f846585c3ded3b626f740ec421"


def test_a_source_s_side_follows_its_split_then_its_group() -> None:
    row = {"video_id": "v", "split": None, "group": None}
    assert is_test(row | {"split": "test"}, 0.001)
    assert not is_test(row | {"split": "train"}, 0.999)
    sides = [is_test(row | {"video_id": f"v{i}"}, 0.25) for i in range(4000)]
    assert 0.22 < np.mean(sides) < 0.28
    assert len({is_test(row | {"video_id": f"v{i}", "group": "g"}, 0.5) for i in range(20)}) == 1


# -- the loop --------------------------------------------------------------------------------------


class Stopped(Exception):
    """Stands for a kill."""


def run(job: TrainJob, *, stop_after: int | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if event["epoch"] == stop_after:
            raise Stopped

    frames = ClipFrames(open_frames(job.pixels), job.clips, job.train_options.size)
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
    _, events = run(dataclasses.replace(job, options={**job.options, "seed": 1}))
    assert [e["epoch"] for e in events] == [0]


def test_saved_model_says_how_to_use_it(tmp_path: Path) -> None:
    result, _ = run(toy_job(tmp_path, epochs=1))
    card = json.loads(Path(result["model"]).with_suffix(".json").read_text())
    assert (card["architecture"], card["classes"], card["size"]) == ("st_cnn", ["right", "left"], [16, 16])
    assert (card["window_frames"], card["normalisation"]) == (8, {"mean": 127.5, "scale": 64.0})
    model = models.of_card(card)
    model.head = MeanLinear(model.num_channels, len(card["classes"]))
    model.load_state_dict(weights_of(result))


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
