"""What was learnt, beside what the controls could learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from patchlake.tasks import canvas
from patchlake.tasks.canvas import Picture
from patchlake.tasks.training.metrics import wilson_interval

MAX_NAMED_CLASSES = 24
_NAMES = {"shuffled": "shuffled frames", "single_frame": "single frame"}
_MEANING = {
    "model": "the model",
    "shuffled": "the same model on frames in random order",
    "single_frame": "a model of one frame",
}


def learning_pictures(train: Mapping[str, Any]) -> list[Picture]:
    """Return accuracies, learning curves and the model's confusion matrix of a training result."""
    variants: dict[str, dict[str, Any]] = train["variants"]
    model = next(iter(variants))
    return [
        accuracy_chart(variants, train.get("mean_flow_accuracy")),
        curves(variants),
        confusion_matrix(np.array(variants[model]["confusion"]), list(train["classes"]), _name(model)),
    ]


def accuracy_chart(variants: Mapping[str, Mapping[str, Any]], mean_flow: float | None) -> Picture:
    """Return accuracies with Wilson intervals, and the line that needs no picture at all."""
    model = next(iter(variants.values()))
    count = model["num_sources"]
    bars = [(_name(name), v["accuracy"], v["interval"]) for name, v in variants.items()]
    if mean_flow is not None:
        bars.append(("mean |flow|", mean_flow, wilson_interval(round(mean_flow * count), count)))
    chance = np.array(model["confusion"]).sum(axis=1).max() / max(count, 1)
    figure = canvas.blank(canvas.WIDTH, 0.85 + 0.34 * len(bars))
    ax = canvas.axes(figure, 1.25, 0.48, canvas.WIDTH - 2.8, 0.12 + 0.34 * len(bars))
    for y, (_, accuracy, (low, high)) in enumerate(bars):
        colour = canvas.COLOURS[0] if y == 0 else canvas.PALE
        ax.barh(y, accuracy, color=colour, height=0.62)
        reach = [[max(0.0, accuracy - low)], [max(0.0, high - accuracy)]]
        ax.errorbar(accuracy, y, xerr=reach, color=canvas.INK, capsize=3, linewidth=1)
        text = f"{accuracy:.3f}  [{low:.2f}, {high:.2f}]"
        ax.text(1.012, y, text, va="center", transform=ax.get_yaxis_transform())
    ax.axvline(chance, color=canvas.COLOURS[3], linestyle="--", linewidth=1.2)
    ax.text(chance, -0.62, f"chance {chance:.3f}", color=canvas.COLOURS[3], ha="center", va="bottom")
    ax.set_yticks(range(len(bars)), [canvas.short(name) for name, _, _ in bars])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(bars) - 0.5, -0.55)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"accuracy on {count:,} held-out sources (share told right)")
    told = ", ".join(_MEANING[name] for name in ["model", *list(variants)[1:]] if name in _MEANING)
    told += "" if mean_flow is None else ", a classifier that knows the mean |flow| alone"
    caption = (
        f"Share of held-out sources whose label was told right, with 95 % Wilson intervals: {told}. "
        "Chance: always answer the commonest label."
    )
    return canvas.picture(figure, caption, title="Accuracy")


def curves(variants: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Return training loss and test accuracy per epoch."""
    figure = canvas.blank(canvas.WIDTH, 2.9)
    width = (canvas.WIDTH - 1.35) / 2
    panels = (
        (0.6, "train_loss", "training loss (nats)"),
        (1.3 + width, "test_accuracy", "test accuracy"),
    )
    for left, key, text in panels:
        ax = canvas.axes(figure, left, 0.48, width, 2.1)
        for (name, variant), colour in zip(variants.items(), canvas.colours(len(variants)), strict=True):
            epochs = [point["epoch"] + 1 for point in variant["curve"]]
            values = [point[key] for point in variant["curve"]]
            ax.plot(epochs, values, color=colour, marker="o", markersize=3.2, label=canvas.short(_name(name)))
        ax.set_xlabel("epoch")
        ax.set_ylabel(text)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(True)
        if key == "test_accuracy":
            ax.set_ylim(0, 1.02)
        else:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(variants), handlelength=1.4)
    caption = (
        "Mean label-smoothed cross-entropy on the training clips, and the share of held-out sources "
        "told right, after each epoch."
    )
    return canvas.picture(figure, caption, title="Learning curves")


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


def _name(variant: str) -> str:
    return _NAMES.get(variant, variant)
