"""Classification: predicts a clip's label from its frames. Evaluated by source, one vote each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives.intervals import wilson_interval
from patchlake.tasks.objectives.mean_flow import mean_flow_control
from patchlake.tasks.objectives.objective import (
    Figures,
    MapOver,
    Statistics,
    StoredProducts,
    empty_side,
    sides_of,
)
from patchlake.tasks.objectives.options import TrainOptions
from patchlake.tasks.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from patchlake.tasks.canvas import Picture

LABEL_SMOOTHING = 0.1


class ClassifyOptions(TrainOptions):
    """Predict a clip's label from its frames."""

    task: Literal["classify"] = "classify"


@dataclass(frozen=True)
class Classify:
    """Cross-entropy with label smoothing; accuracy over sources with Wilson's interval, and their confusion matrix."""

    options: ClassifyOptions
    classes: tuple[str, ...] = ()

    def target_of(self, row: Mapping[str, Any]) -> str | None:
        """Return a clip's label."""
        label: str | None = row["label"]
        return label

    def outputs_of(self, targets: Iterable[str]) -> tuple[str, ...]:
        """Return the classes: all labels, sorted."""
        return tuple(sorted(set(targets)))

    def encode(self, target: str, outputs: tuple[str, ...]) -> int:
        """Return the index of a label in the classes."""
        return outputs.index(target)

    def problem(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> str | None:
        """Return why training is impossible: fewer than two labels, or none in both train and test; or None."""
        train, test = (Counter(int(clip.target) for clip in side) for side in sides_of(clips))
        if len(train | test) < 2:
            count = f"{len(train | test)} labels among {len(clips)} clips"
            return f"There are {count}, expected two or more: label the corpus."
        if (reason := empty_side(clips)) is not None:
            return reason
        if len(train) < 2:
            only = outputs[next(iter(train))]
            return f"The train part holds one label only ({only}): give more groups or a split column."
        if not train & test:
            return "No label is in both the train and the test part: give more groups per label or a split column."
        return None

    def fitted(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> Classify:
        """Return the objective with its classes."""
        return replace(self, classes=outputs)

    def described(self) -> dict[str, Any]:
        """Return the classes."""
        return {"classes": list(self.classes)}

    def head(self, channels: int) -> nn.Module:
        """Return a linear layer on the maps' mean, with one logit per class."""
        from patchlake.tasks.objectives.heads import MeanLinear

        return MeanLinear(channels, len(self.classes))

    def loss(self, outputs_BK: Tensor, target_B: Tensor) -> tuple[Tensor, int]:
        """Return the cross-entropy with smoothed targets, one term per clip."""
        from torch.nn.functional import cross_entropy

        total = cross_entropy(outputs_BK, target_B, reduction="sum", label_smoothing=LABEL_SMOOTHING)
        return total, len(target_B)

    def statistics(self, outputs_NK: FloatArray, clips: Sequence[ClipRows]) -> Statistics:
        """Return the true and the predicted class of each source, by the mean logits of its clips of one label.

        A source with clips of several labels counts once per label.
        """
        members: dict[tuple[int, int], list[int]] = {}
        for row, clip in enumerate(clips):
            members.setdefault((clip.source, int(clip.target)), []).append(row)
        predicted = [int(outputs_NK[rows].mean(axis=0).argmax()) for rows in members.values()]
        return {"true": np.array([label for _, label in members], np.int64), "predicted": np.array(predicted, np.int64)}

    def figures(self, statistics: Statistics) -> Figures:
        """Return the accuracy with its interval, and the counts of sources [true][predicted]."""
        confusion = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(confusion, (statistics["true"], statistics["predicted"]), 1)
        correct, count = int(np.trace(confusion)), int(confusion.sum())
        return {
            "accuracy": correct / count,
            "num_correct": correct,
            "num_sources": count,
            "interval": list(wilson_interval(correct, count)),
            "confusion": confusion.tolist(),
        }

    def curve_point(self, figures: Figures) -> dict[str, float]:
        """Return the accuracy."""
        return {"test_accuracy": figures["accuracy"]}

    def baselines(self, clips: Sequence[ClipRows], stored: StoredProducts, run: MapOver) -> dict[str, Any]:
        """Return the accuracy of predicting the label from a source's mean |flow|, if a `flow` feature is stored."""
        return mean_flow_control(clips, stored, run)

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the accuracies of the model and of the controls."""
        found = []
        for name, figures in result["variants"].items():
            low, high = figures["interval"]
            accuracy, count = figures["accuracy"], figures["num_sources"]
            text = f"accuracy {accuracy:.3f} [{low:.3f}, {high:.3f}] on {count} held-out sources"
            found.append((name.replace("_", " "), text))
        if result.get("mean_flow_accuracy") is not None:
            found.append(("mean |flow|", f"accuracy {result['mean_flow_accuracy']:.3f}"))
        return found

    def pictures(self, result: Mapping[str, Any]) -> list[Picture]:
        """Return accuracies, learning curves and the model's confusion matrix."""
        from patchlake.tasks.objectives.class_charts import pictures  # imports matplotlib

        return pictures(result)
