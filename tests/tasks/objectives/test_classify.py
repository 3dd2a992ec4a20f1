"""Classification: votes of sources, their confusion, and sentences that say why clips don't do."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix
from toy_training import clip

from patchlake.tasks import canvas, objectives
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives.classify import Classify, ClassifyOptions
from patchlake.tasks.objectives.intervals import wilson_interval
from patchlake.tasks.training.job import TrainJob, check

OBJECTIVE = Classify(ClassifyOptions())


def scored(logits: np.ndarray, clips: list[ClipRows]) -> dict[str, Any]:
    objective = OBJECTIVE.fitted(clips, tuple(map(str, range(logits.shape[1]))))
    return objective.figures(objective.statistics(logits, clips))


def test_a_source_s_clips_vote_with_their_mean_and_count_once() -> None:
    clips = [clip(0, 0), clip(0, 0), clip(0, 0), clip(1, 1), clip(2, 1), clip(2, 0)]
    logits = np.array([[5.0, 0], [0, 1], [0, 1], [0, 2], [3, 0], [3, 0]])
    figures = scored(logits, clips)
    assert figures["confusion"] == [[2, 0], [1, 1]]
    assert (figures["num_correct"], figures["num_sources"], figures["accuracy"]) == (3, 4, 0.75)
    assert figures["interval"] == list(wilson_interval(3, 4))
    assert scored(np.eye(3), [clip(i, i) for i in range(3)])["accuracy"] == 1


def test_figures_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((200, 5)), rng.integers(5, size=200)
    figures = scored(logits, [clip(i, int(label)) for i, label in enumerate(labels)])
    assert figures["accuracy"] == accuracy_score(labels, logits.argmax(axis=1))
    assert figures["confusion"] == confusion_matrix(labels, logits.argmax(axis=1)).tolist()


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    logits, clips = rng.standard_normal((60, 3)), [clip(i // 3, i // 3 % 3) for i in range(60)]
    objective = OBJECTIVE.fitted(clips, ("a", "b", "c"))
    first, second = objective.statistics(logits[:30], clips[:30]), objective.statistics(logits[30:], clips[30:])
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    assert objective.figures(both) == objective.figures(objective.statistics(logits, clips))


def test_the_loss_is_smoothed_cross_entropy_by_hand() -> None:
    objective = OBJECTIVE.fitted([], ("a", "b"))
    logits = torch.tensor([[0.0, np.log(3.0)], [0.0, 0.0]], dtype=torch.float64)
    total, number = objective.loss(logits, torch.tensor([1, 0]))
    first = -(0.95 * np.log(0.75) + 0.05 * np.log(0.25))  # smoothing 0.1 leaves 0.95 and gives 0.05
    assert number == 2
    assert float(total) == pytest.approx(first + np.log(2))


def test_targets_are_positions_of_sorted_labels() -> None:
    rows = [{"label": "walk"}, {"label": None}, {"label": "run"}]
    targets = [t for row in rows if (t := OBJECTIVE.target_of(row)) is not None]
    outputs = OBJECTIVE.outputs_of(targets)
    assert outputs == ("run", "walk")
    assert [OBJECTIVE.encode(t, outputs) for t in targets] == [1, 0]


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
    job = TrainJob(pixels="", clips=tuple(clips), outputs=("a", "b", "c"), options={}, folder="", variants=("st_cnn",))
    said = check(job)
    assert said is None if sentence is None else sentence in (said or "")


def test_rows_say_what_the_run_s_table_shows() -> None:
    figures = {"accuracy": 0.75, "interval": [0.3, 0.95], "num_sources": 4}
    result = {"variants": {"st_cnn": figures, "single_frame": figures}, "mean_flow_accuracy": 0.5}
    told = "accuracy 0.750 [0.300, 0.950] on 4 held-out sources"
    rows = [("st cnn", told), ("single frame", told), ("mean |flow|", "accuracy 0.500")]
    assert OBJECTIVE.rows(result) == rows
    assert objectives.build(ClassifyOptions()).rows({"variants": {}}) == []


def test_training_without_controls_and_with_many_classes() -> None:
    confusion = np.random.default_rng(0).integers(0, 4, (60, 60)).tolist()
    curve = [{"epoch": i, "train_loss": 1 / (i + 1), "test_accuracy": 0.9} for i in range(3)]
    model = {"accuracy": 0.9, "interval": [0.7, 1.0], "num_sources": 20, "confusion": confusion, "curve": curve}
    result = {"classes": [f"class {i}" for i in range(60)], "variants": {"st_cnn": model}, "mean_flow_accuracy": None}
    with canvas.style():
        pictures = OBJECTIVE.pictures(result)
    assert [p.title for p in pictures] == ["Accuracy", "Learning curves", "Confusion matrix"]
    captions = " ".join(p.caption for p in pictures)
    assert "random order" not in captions
    assert "|flow|" not in captions
