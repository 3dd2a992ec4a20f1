"""The control that knows only how much moves: can the mean |flow| of a source tell its class?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def mean_flow_probe(
    train_speed: npt.ArrayLike,
    train_label: npt.ArrayLike,
    test_speed: npt.ArrayLike,
    test_label: npt.ArrayLike,
) -> float:
    """Return the test accuracy of a classifier of one number per source, its mean |flow| (any unit).

    Speeds (N,) and integer labels (N,). The classifier is the best, by 5-fold cross-validation on the
    training part, of logistic regression on cubic splines of the log speed and of 5, 15 and 45 nearest
    neighbours. Raises ValueError when a part is empty or the training part holds one class only.
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
