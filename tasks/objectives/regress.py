"""Regression: predicts a number of a clip from its frames. Errors are per clip; intervals resample sources."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives.intervals import bootstrap_interval
from patchlake.tasks.objectives.objective import (
    Figures,
    MapOver,
    Statistics,
    StoredProducts,
    empty_side,
    sides_of,
    sum_by_source,
)
from patchlake.tasks.objectives.options import TrainOptions
from patchlake.tasks.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from patchlake.tasks.canvas import Picture

PREFIX = "targets."
_SUMS = ("count", "squared_error", "absolute_error", "target", "squared_target")


class RegressOptions(TrainOptions):
    """Predict one of a clip's targets, a number, from its frames."""

    task: Literal["regress"]
    target: str = Field(pattern=r"^targets\..+", description="targets.NAME: a number that the manifest gives.")

    @property
    def target_name(self) -> str:
        """Name of the target in the table `clips`."""
        return self.target.removeprefix(PREFIX)


@dataclass(frozen=True)
class Regress:
    """Mean squared error of the standardised target; MSE, MAE and R2 with a bootstrap interval over sources."""

    options: RegressOptions
    mean: float = 0.0
    scale: float = 1.0
    """Mean and standard deviation of the training clips' targets; the model predicts (target - mean) / scale."""

    def target_of(self, row: Mapping[str, Any]) -> float | None:
        """Return a clip's target, None if it has none of that name."""
        return dict(row["targets"] or ()).get(self.options.target_name)

    def outputs_of(self, targets: Iterable[float]) -> tuple[str, ...]:
        """Return the target's name."""
        return (self.options.target_name,)

    def encode(self, target: float, outputs: tuple[str, ...]) -> float:
        """Return the target unchanged."""
        return float(target)

    def problem(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> str | None:
        """Return why training is impossible: no target, or the same one for all training or test clips; or None."""
        if not clips:
            return f"No clip has a {self.options.target}: give a column target_{self.options.target_name}."
        if (reason := empty_side(clips)) is not None:
            return reason
        for side, name in zip(sides_of(clips), ("train", "test"), strict=True):
            if len({clip.target for clip in side}) < 2:
                return f"The {name} part holds one value of {self.options.target} only: give more groups."
        return None

    def fitted(self, clips: Sequence[ClipRows], outputs: tuple[str, ...]) -> Regress:
        """Return the objective with the training clips' mean and scale."""
        values = [float(clip.target) for clip in clips if not clip.test]
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        return replace(self, mean=mean, scale=math.sqrt(variance) or 1.0)

    def described(self) -> dict[str, Any]:
        """Return the target, and the conversion of outputs to its unit: output * scale + mean."""
        return {"target": self.options.target, "mean": self.mean, "scale": self.scale}

    def head(self, channels: int) -> nn.Module:
        """Return a linear layer on the maps' mean, with one output."""
        from patchlake.tasks.objectives.heads import MeanLinear

        return MeanLinear(channels, 1)

    def loss(self, outputs_BK: Tensor, target_B: Tensor) -> tuple[Tensor, int]:
        """Return the squared error of the standardised target, one term per clip."""
        wanted_B = (target_B - self.mean) / self.scale
        return (outputs_BK[:, 0] - wanted_B.to(outputs_BK.dtype)).square().sum(), len(target_B)

    def statistics(self, outputs_NK: FloatArray, clips: Sequence[ClipRows]) -> Statistics:
        """Return sums over each source's clips: their count, errors, and targets; in the target's unit."""
        target = np.array([float(clip.target) for clip in clips])
        error = outputs_NK[:, 0] * self.scale + self.mean - target
        ones = np.ones(len(clips))
        sums = sum_by_source(np.stack([ones, error**2, np.abs(error), target, target**2], axis=1), clips)
        return dict(zip(_SUMS, sums.T, strict=True))

    def figures(self, statistics: Statistics) -> Figures:
        """Return MSE, MAE and R2 over clips, and R2's interval."""
        rows = np.stack([statistics[name] for name in _SUMS], axis=1)
        sums = rows.sum(axis=0)
        interval = bootstrap_interval(rows, _r2)
        return {
            "r2": float(_r2(sums[None])[0]),
            "interval": None if interval is None else list(interval),
            "mse": float(sums[1] / sums[0]),
            "mae": float(sums[2] / sums[0]),
            "num_clips": int(sums[0]),
            "num_sources": len(rows),
        }

    def curve_point(self, figures: Figures) -> dict[str, float]:
        """Return R2 and the mean absolute error."""
        return {"test_r2": figures["r2"], "test_mae": figures["mae"]}

    def baselines(self, clips: Sequence[ClipRows], stored: StoredProducts, run: MapOver) -> dict[str, Any]:
        """Return {}: R2 already compares with the best constant."""
        return {}

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return R2 and errors of the model and of the controls."""
        found = []
        for name, figures in result["variants"].items():
            text = f"R2 {figures['r2']:.3f}{_brackets(figures)}, MAE {figures['mae']:.4g}, MSE {figures['mse']:.4g}"
            text += f" on {figures['num_clips']} clips of {figures['num_sources']} held-out sources"
            found.append((name.replace("_", " "), text))
        return found

    def pictures(self, result: Mapping[str, Any]) -> list[Picture]:
        """Return R2 of the model and of the controls, and learning curves."""
        from patchlake.tasks.objectives import charts  # imports matplotlib

        variants = result["variants"]
        count = next(iter(variants.values()))["num_sources"]
        scores = {name: (figures["r2"], figures["interval"]) for name, figures in variants.items()}
        caption = (
            f"Share of the variance of {self.options.target} that is explained on {count:,} held-out sources, with "
            f"95 % bootstrap intervals: {charts.meanings(variants)}. Zero: always answer the mean."
        )
        curves = (("train_loss", "training loss (variances)"), ("test_r2", "test R2"))
        text = "Mean squared error on the training clips, in variances of the target, and R2 on held-out clips, after "
        text += "each epoch."
        return [charts.bars(scores, "R2 on held-out clips", caption, title="R2"), charts.curves(variants, curves, text)]


def _r2(sums_DF: FloatArray) -> FloatArray:
    """Return R2 (draws,) of sums (draws, `_SUMS`); NaN where all targets are equal."""
    count, error, _, target, squared = sums_DF.T
    spread = squared - target**2 / count
    known = spread > 1e-12 * np.maximum(squared, np.finfo(np.float64).tiny)
    r2: FloatArray = np.where(known, 1 - error / np.where(known, spread, 1), np.nan)
    return r2


def _brackets(figures: Mapping[str, Any]) -> str:
    interval = figures["interval"]
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
