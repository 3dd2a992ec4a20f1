"""The recipe's `reduce` and `train`: words of before stay valid, kinds bring options of their own."""

from pathlib import Path
from typing import Any

import pytest

from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError

BASE: dict[str, Any] = {"name": "x", "lake": "l", "corpus": {"videos": "v"}, "features": ["flow"]}


def test_a_reduction_names_its_product_by_either_word(tmp_path: Path) -> None:
    new, old = (
        recipes.parse({**BASE, "reduce": [{"kind": k, word: "flow"} for k in ("pca", "quantiles")]}, base=tmp_path)
        for word in ("product", "feature")
    )
    assert new.reduce == old.reduce
    assert [r.name for r in new.reduce] == ["pca-flow", "quantiles-flow"]
    assert new.reduce[0].key == {"kind": "pca", "feature": "flow", "components": 16}


def test_training_takes_a_task_and_a_model_with_options(tmp_path: Path) -> None:
    train = {"task": "regress", "target": "targets.speed", "model": {"kind": "st_cnn", "width": 8}}
    found = recipes.parse({**BASE, "train": train}, base=tmp_path).train
    assert found is not None
    assert (found.task, found.model.kind, found.epochs) == ("regress", "st_cnn", 20)
    with pytest.raises(RecipeError, match=r"got task 'regres'; did you mean regress\?"):
        recipes.parse({**BASE, "train": {**train, "task": "regres"}}, base=tmp_path)
