"""Which products have units of their own, on which clusters. Nothing is started: the specs say what there will be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_networks as deep

from patchlake.cluster.connect import Cluster
from patchlake.cluster.kinds.registry import parse
from patchlake.tasks import recipe as recipes
from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.deferred import Workers, deferred_products, gpu_products

SLURM = {"kind": "slurm", "interface": "lo"}
CPUS, GPUS, BOTH = {"gpus": 0}, {"gpus": 2}, {"gpus": 1}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "vit"
    deep.make("vit").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def of(recipe: Callable[..., Path], vit: str) -> Callable[..., tuple[set[str], set[str]]]:
    """Return the products on GPUs, and the deferred ones, for a network on a device and a cluster."""

    def of(device: str, cluster: dict[str, Any], **changes: Any) -> tuple[set[str], set[str]]:
        features = ["edges", {"kind": "hf", "path": vit, "name": "vit", "device": device}]
        dataset = Dataset.open(recipes.load(recipe(features=features, **changes)))
        one = Cluster(parse({"workers": 2, **cluster}))
        workers = Workers(total=one.size, with_gpu=one.num_gpu_workers)
        found = gpu_products(dataset.products.values(), workers), deferred_products(dataset, workers)
        assert not one.started
        return found

    return of


@pytest.mark.parametrize("kind", [{"kind": "local"}, SLURM, {"kind": "ssh", "hosts": ["a", "b"]}])
def test_where_only_some_workers_have_a_gpu_what_takes_one_is_deferred(of: Callable[..., Any], kind: Any) -> None:
    assert of("auto", kind | BOTH) == of("cuda", kind | BOTH) == ({"vit"}, {"vit"})
    assert of("auto", kind | GPUS) == of("cuda", kind | GPUS) == ({"vit"}, set())
    assert of("auto", kind | CPUS) == of("cpu", kind | BOTH) == (set(), set())
    assert of("cuda", kind | CPUS)[0] == {"vit"}, "to be refused"


def test_the_recipe_has_the_last_word(of: Callable[..., Any]) -> None:
    units = {"slot_frames": 32, "slots": 2}
    assert of("auto", BOTH, units={**units, "fused": True}) == ({"vit"}, set())
    assert of("auto", GPUS, units={**units, "fused": False}) == ({"vit"}, {"vit"})
    unkept = {"frames": {"size": [48, 64], "keep": False}}
    assert of("auto", BOTH, **unkept, units={**units, "fused": False}) == ({"vit"}, set()), "there is nothing to read"
