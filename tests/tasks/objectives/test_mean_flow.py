"""The control that knows only how much moves."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from toy_training import clip

from patchlake.tasks.lake.layout import ARRAYS
from patchlake.tasks.lake.product import Product
from patchlake.tasks.objectives.mean_flow import mean_flow_accuracy, mean_flow_control, mean_flow_probe
from patchlake.tasks.objectives.objective import StoredProducts
from patchlake.tasks.storage.location import Location


def test_probe_finds_classes_in_speeds_and_none_in_noise() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(400) % 4
    told = np.exp(label + rng.normal(0, 0.1, 400))
    noise = np.exp(rng.normal(0, 1, 400))
    assert mean_flow_probe(told[:300], label[:300], told[300:], label[300:]) > 0.97
    assert mean_flow_probe(noise[:300], label[:300], noise[300:], label[300:]) < 0.4
    middle = np.where(label[:200] == 0, 5.0, rng.choice([1.0, 25.0], 200)) + rng.normal(0, 0.1, 200)
    two = (label[:200] == 0).astype(int)
    assert mean_flow_probe(middle[:150], two[:150], middle[150:], two[150:]) > 0.95  # not monotone in speed
    with pytest.raises(ValueError, match="two training classes"):
        mean_flow_probe([1, 2], [0, 0], [1], [0])


def speeds_of(count: int, *, noise: float) -> tuple[list, dict]:
    """Two clips of each source; class 1 is faster."""
    rng = np.random.default_rng(0)
    clips = [
        clip(s, s % 2, test=s % 4 >= 2, rows=(16 * s + 8 * i, 16 * s + 8 * i + 8)) for s in range(count) for i in (0, 1)
    ]
    return clips, {c: float(1 + 4 * c.target + noise * rng.random()) for c in clips}


def test_a_source_is_judged_by_the_mean_of_its_clips() -> None:
    clips, speeds = speeds_of(40, noise=0.1)
    assert mean_flow_accuracy(clips, speeds) == 1
    outliers = {c: v + (100 if c.row_start % 16 else -100) for c, v in speeds.items()}  # the mean stays
    assert mean_flow_accuracy(clips, outliers) == 1


def test_clips_without_a_speed_are_left_out() -> None:
    clips, speeds = speeds_of(40, noise=0.1)
    missing = {c: float("nan") if c.row_start % 16 else v for c, v in speeds.items()}
    assert mean_flow_accuracy(clips, missing) == 1
    assert mean_flow_accuracy(clips, dict.fromkeys(clips, float("nan"))) is None
    assert mean_flow_accuracy(clips, {c: v if c.target else float("nan") for c, v in speeds.items()}) is None
    assert mean_flow_accuracy(clips, {c: float("nan") if c.test else v for c, v in speeds.items()}) is None


def flow(kind: str) -> Product:
    return Product(
        name="f", array="features", key={}, time_size=8, time_stride=8, y=(0.5,), x=(0.5,), channels=("u", "speed"),
        dtype="float32", rows_per_slot=8, chunk=(1, 1, 1), needs_gpu=False, attrs={"kind": kind},
    )  # fmt: skip


def test_speeds_are_read_from_the_stored_flow(tmp_path: Path) -> None:
    clips, speeds = speeds_of(40, noise=0.1)
    values = np.zeros((80, 1, 1, 2), np.float32)
    for one, speed in speeds.items():
        values[one.row_start // 8, 0, 0] = (99, speed)
    group = zarr.create_group(tmp_path / ARRAYS / "f")
    group.create_array("features", shape=values.shape, dtype="f4", chunks=(8, 1, 1, 2))[:] = values
    stored = StoredProducts(lake=Location(str(tmp_path)), products=(flow("edges"), flow("flow")))
    assert mean_flow_control(clips, stored, map) == {"mean_flow_accuracy": 1}
    assert mean_flow_control(clips, StoredProducts(lake=stored.lake, products=(flow("edges"),)), map) == {}
