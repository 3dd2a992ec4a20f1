"""Regression: figures are scikit-learn's; what it learns is what the frames show."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from toy_training import clip, toy_job

from patchlake.tasks import canvas, objectives
from patchlake.tasks.loading.reader import ClipFrames, open_frames
from patchlake.tasks.objectives.regress import Regress, RegressOptions
from patchlake.tasks.training.group import Group
from patchlake.tasks.training.job import TrainJob, check
from patchlake.tasks.training.loop import Rank, train

OPTIONS = RegressOptions(task="regress", target="targets.speed")
OBJECTIVE = Regress(OPTIONS)


def test_figures_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(300) * 3 + 7
    told = y + rng.standard_normal(300)
    clips = [clip(i // 3, float(v)) for i, v in enumerate(y)]
    objective = dataclasses.replace(OBJECTIVE, mean=7.0, scale=3.0)
    figures = objective.figures(objective.statistics(((told - 7) / 3)[:, None], clips))
    assert figures["mse"] == pytest.approx(mean_squared_error(y, told))
    assert figures["mae"] == pytest.approx(mean_absolute_error(y, told))
    assert figures["r2"] == pytest.approx(r2_score(y, told))
    assert (figures["num_clips"], figures["num_sources"]) == (300, 100)
    low, high = figures["interval"]
    assert low < figures["r2"] < high < low + 0.1


def test_statistics_of_parts_add_up_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    outputs, clips = rng.standard_normal((60, 1)), [clip(i // 3, float(rng.standard_normal())) for i in range(60)]
    first, second = OBJECTIVE.statistics(outputs[:30], clips[:30]), OBJECTIVE.statistics(outputs[30:], clips[30:])
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    assert OBJECTIVE.figures(both) == OBJECTIVE.figures(OBJECTIVE.statistics(outputs, clips))


def test_targets_come_from_the_table_and_are_standardised_by_the_training_clips() -> None:
    assert OBJECTIVE.target_of({"targets": [("speed", 2.5), ("size", 1.0)]}) == 2.5
    assert OBJECTIVE.target_of({"targets": [("size", 1.0)]}) is None
    assert OBJECTIVE.target_of({"targets": None}) is None
    fitted = OBJECTIVE.fitted([clip(0, 1.0, test=False), clip(1, 5.0, test=False), clip(2, 1e9)], ("speed",))
    assert (fitted.mean, fitted.scale) == (3, 2)
    total, number = fitted.loss(torch.tensor([[0.0], [2.0]]), torch.tensor([5.0, 5.0], dtype=torch.float64))
    assert (float(total), number) == (2.0, 2)  # (0 - 1)^2 + (2 - 1)^2
    assert fitted.described() == {"target": "targets.speed", "mean": 3.0, "scale": 2.0}


@pytest.mark.parametrize(
    ("clips", "sentence"),
    [
        ([], "No clip has a targets.speed: give a column target_speed."),
        ([clip(0, 1.0)], "No clip is in the train part"),
        ([clip(0, 1.0, test=False), clip(1, 2.0), clip(2, 3.0)], "The train part holds one value"),
        ([clip(0, 1.0, test=False), clip(1, 2.0, test=False), clip(2, 3.0)], "The test part holds one value"),
        ([clip(0, 1.0, test=False), clip(1, 2.0, test=False), clip(2, 3.0), clip(3, 4.0)], None),
    ],
)
def test_check_says_why_not(clips: list[Any], sentence: str | None) -> None:
    options = OPTIONS.model_dump(mode="json")
    job = TrainJob(pixels="", clips=tuple(clips), outputs=("speed",), options=options, folder="", variants=("st_cnn",))
    said = check(job)
    assert said is None if sentence is None else sentence in (said or "")


def test_recipe_section() -> None:
    section = objectives.OBJECTIVES.entry({"task": "regress", "target": "targets.speed", "epochs": 3})
    assert section == RegressOptions(task="regress", target="targets.speed", epochs=3)
    for wrong in ({"task": "regress"}, {"task": "regress", "target": "speed"}, {"target": "targets.speed"}):
        with pytest.raises(pydantic.ValidationError):
            objectives.OBJECTIVES.entry(wrong)


def test_the_loop_learns_a_number(tmp_path: Path) -> None:
    """Which way the bar walks, as a number with a unit."""
    job = toy_job(tmp_path, num_sources=96, epochs=12, task="regress", target="targets.speed")
    clips = tuple(dataclasses.replace(c, target=70.0 - 40.0 * c.target) for c in job.clips)
    job = dataclasses.replace(job, clips=clips, outputs=("speed",))
    frames = open_frames(job.pixels)
    result = train(
        job, "st_cnn", ClipFrames(frames, clips, None),
        Rank(group=Group(), device=torch.device("cpu"), emit=lambda event: None),
    )  # fmt: skip
    assert result["r2"] > 0.5
    assert result["curve"][-1]["test_r2"] == result["r2"]
    assert [name for name, _ in OBJECTIVE.rows({"variants": {"st_cnn": result}})] == ["st cnn"]
    with canvas.style():
        pictures = OBJECTIVE.pictures({"variants": {"st_cnn": result, "shuffled": {**result, "interval": None}}})
    assert [p.title for p in pictures] == ["R2", "Learning curves"]
