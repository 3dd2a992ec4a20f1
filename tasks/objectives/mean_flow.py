"""The control that knows only the amount of motion: how well does a source's mean |flow| predict its class?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.product_rows import ProductRows
from patchlake.tasks.loading.samples import ClipRows
from patchlake.tasks.objectives.objective import MapOver, StoredProducts
from patchlake.tasks.storage.location import Location

CLIPS_PER_TASK = 64


def mean_flow_control(clips: Sequence[ClipRows], stored: StoredProducts, run: MapOver) -> dict[str, Any]:
    """Return {"mean_flow_accuracy": accuracy or None}; {} if no `flow` feature is stored."""
    product = next((p for p in stored.products if p.attrs.get("kind") == "flow"), None)
    if product is None:
        return {}
    parts = [tuple(clips[i : i + CLIPS_PER_TASK]) for i in range(0, len(clips), CLIPS_PER_TASK)]
    speeds: dict[ClipRows, float] = {}
    for found in run(partial(clip_speeds, stored.lake, product), parts):
        speeds |= found
    return {"mean_flow_accuracy": mean_flow_accuracy(clips, speeds)}


def clip_speeds(lake: Location, product: Product, clips: Sequence[ClipRows]) -> dict[ClipRows, float]:
    """Return the mean speed over time and space of each clip (NaN if no cell is stored). Runs on a worker."""
    values, stride, channel = (
        ProductRows(lake, product.name).values,
        product.time_stride,
        product.channels.index("speed"),
    )
    speeds = {}
    for clip in clips:
        part = np.asarray(values[clip.row_start // stride : -(-clip.row_stop // stride), :, :, channel])
        speeds[clip] = float(part.mean()) if part.size else float("nan")
    return speeds


def mean_flow_accuracy(clips: Sequence[ClipRows], speeds: Mapping[ClipRows, float]) -> float | None:
    """Return the accuracy on test sources of predicting from the mean speed of a source's clips.

    Clips without a speed are left out. A source has the label of its first clip. None if the remaining sources don't
    suffice for training or test.
    """
    sources: dict[int, list[ClipRows]] = {}
    for clip in clips:
        if not np.isnan(speeds[clip]):
            sources.setdefault(clip.source, []).append(clip)
    sides: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
    for members in sources.values():
        sides[members[0].test].append((float(np.mean([speeds[c] for c in members])), int(members[0].target)))
    if not sides[True] or len({label for _, label in sides[False]}) < 2:
        return None
    train, test = (np.array(sides[side]) for side in (False, True))
    return mean_flow_probe(train[:, 0], train[:, 1].astype(int), test[:, 0], test[:, 1].astype(int))


def mean_flow_probe(
    train_speed: npt.ArrayLike,
    train_label: npt.ArrayLike,
    test_speed: npt.ArrayLike,
    test_label: npt.ArrayLike,
) -> float:
    """Return the test accuracy of a classifier that gets one number per source, its mean |flow| (any unit).

    Speeds (N,) and integer labels (N,). The classifier is the best, by 5-fold cross-validation on the
    training part, of logistic regression on cubic splines of the log speed and of 5, 15 and 45 nearest
    neighbours. Raises ValueError if a part is empty or the training part has only one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer, StandardScaler

    train_x, test_x = (np.log(np.asarray(v, np.float64) + 1e-6).reshape(-1, 1) for v in (train_speed, test_speed))
    train_y, test_y = np.asarray(train_label), np.asarray(test_label)
    if not len(test_y) or len(np.unique(train_y)) < 2:
        raise ValueError(
            f"a probe needs test sources and two training classes, got {len(test_y) = }, {np.unique(train_y) = }"
        )
    splines = SplineTransformer(n_knots=6, knots="quantile", extrapolation="linear")
    candidates = [make_pipeline(StandardScaler(), splines, LogisticRegression(C=10, max_iter=2000))]
    candidates += [KNeighborsClassifier(k) for k in (5, 15, 45) if k <= len(train_y) * 4 // 5]
    rarest = int(np.unique(train_y, return_counts=True)[1].min())
    best = candidates[0]
    if rarest >= 2:
        scores = [cross_val_score(c, train_x, train_y, cv=min(5, rarest)).mean() for c in candidates]
        best = candidates[int(np.argmax(scores))]
    return float((best.fit(train_x, train_y).predict(test_x) == test_y).mean())
