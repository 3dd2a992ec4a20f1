"""Pictures of a classification: accuracies, learning curves, confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.objectives import charts
from patchlake.tasks.objectives.charts import Score, Variants
from patchlake.tasks.objectives.intervals import wilson_interval

MAX_NAMED_CLASSES = 24
CURVES = (("train_loss", "training loss (nats)"), ("test_accuracy", "test accuracy"))


def pictures(result: Mapping[str, Any]) -> list[Picture]:
    """Return accuracies, learning curves and the model's confusion matrix of a training result."""
    variants: dict[str, dict[str, Any]] = result["variants"]
    model = next(iter(variants))
    caption = (
        "Mean label-smoothed cross-entropy on the training clips, and the accuracy on held-out "
        "sources, after each epoch."
    )
    confusion = np.array(variants[model]["confusion"])
    return [
        accuracy_chart(variants, result.get("mean_flow_accuracy")),
        charts.curves(variants, CURVES, caption),
        confusion_matrix(confusion, list(result["classes"]), charts.title_of(model)),
    ]


def accuracy_chart(variants: Variants, mean_flow: float | None) -> Picture:
    """Return accuracies with Wilson intervals, and a line at the share of the most common label."""
    model = next(iter(variants.values()))
    count = model["num_sources"]
    scores: dict[str, Score] = {name: (v["accuracy"], v["interval"]) for name, v in variants.items()}
    explained = charts.meanings(variants)
    if mean_flow is not None:
        scores["mean |flow|"] = (mean_flow, wilson_interval(round(mean_flow * count), count))
        explained += ", a classifier that knows the mean |flow| alone"
    chance = np.array(model["confusion"]).sum(axis=1).max() / max(count, 1)
    caption = (
        f"Share of held-out sources whose label is predicted right, with 95 % Wilson intervals: {explained}. "
        "Chance: always answer the commonest label."
    )
    xlabel = f"accuracy on {count:,} held-out sources"
    return charts.bars(scores, xlabel, caption, title="Accuracy", mark=(chance, f"chance {chance:.3f}"))


def confusion_matrix(confusion: np.ndarray, classes: list[str], model: str) -> Picture:
    """Return counts of held-out sources by true and predicted label, coloured by share of the true label."""
    count = len(classes)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(5.0, max(2.2, 0.46 * count))
    named = count <= MAX_NAMED_CLASSES
    names = [canvas.short(name, 20) for name in classes]
    longest = max(map(len, names)) if named else 3
    left, below = 0.5 + 0.07 * longest, 0.45 + 0.053 * longest
    figure = canvas.blank(canvas.WIDTH, side + below + 0.15)
    ax = canvas.axes(figure, left, below, side, side)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for edge in ("top", "right"):
        ax.spines[edge].set_visible(True)
    if named:
        ax.set_yticks(range(count), names)
        ax.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
        for (row, column), number in np.ndenumerate(confusion):
            if number:
                colour = "white" if shares[row, column] > 0.55 else canvas.INK
                ax.text(column, row, f"{number:,}", ha="center", va="center", color=colour)
    ax.set_ylabel("true label")
    ax.set_xlabel("predicted label")
    bar = figure.colorbar(image, cax=canvas.axes(figure, left + side + 0.2, below, 0.13, side))
    bar.outline.set_visible(False)
    bar.set_label("share of the true label")
    total, right = int(confusion.sum()), int(np.trace(confusion))
    caption = (
        f"{model}: {total:,} held-out sources by true (row) and predicted (column) label; {right:,} on the diagonal."
    )
    return canvas.picture(figure, caption, title="Confusion matrix")
