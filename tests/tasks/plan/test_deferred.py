"""Which products have units of their own, on which clusters. Nothing is started: the specs say what there will be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_networks as deep
from in_process import BASE

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


OURS = """
class Ours:
    version, channels, dtype, context_frames = 1, ("mean",), "float32", (0, 0)
    needs_gpu, wants_gpu, time_size, time_stride = NEEDS, True, 1, 1
    centres, digest_parts, attrs = ((24.0,), (32.0,)), {}, {}

    def __init__(self, patches, frame_size):
        pass

    def __call__(self, frames):
        return frames.mean(axis=(1, 2, 3))[:, None, None, None]
"""


@pytest.mark.parametrize("fused", ["auto", True, False])
@pytest.mark.parametrize("needs_gpu", [True, False])
@pytest.mark.parametrize(("total", "with_gpu"), [(1, 0), (1, 1), (2, 1), (8, 0), (8, 3), (8, 8)])
def test_what_takes_a_gpu_is_deferred_where_some_workers_lack_one(
    tmp_path: Path, total: int, with_gpu: int, *, needs_gpu: bool, fused: bool | str
) -> None:
    name = f"ours_{'needs' if needs_gpu else 'wants'}"
    (tmp_path / f"{name}.py").write_text(OURS.replace("NEEDS", str(needs_gpu)))
    given = {**BASE, "corpus": {"videos": "."}, "features": ["edges", f"{name}:Ours"]}
    units = {**BASE["units"], "fused": fused}
    dataset = Dataset.open(recipes.parse({**given, "units": units}, base=tmp_path))
    workers = Workers(total=total, with_gpu=with_gpu)
    takes = {"Ours"} if needs_gpu or with_gpu > 0 else set()
    assert gpu_products(dataset.products.values(), workers) == takes
    apart = {"auto": with_gpu < total, True: False, False: True}[fused]
    assert deferred_products(dataset, workers) == (takes if apart else set())
