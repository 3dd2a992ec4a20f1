"""The limit beside which a run is put: arithmetic on seconds per row, by hand."""

from __future__ import annotations

import pytest

from patchlake.tasks.figures import IngestFigures
from patchlake.tasks.unit.light_figures import light_figures
from patchlake.tasks.unit.speed_of_light import Light


def test_workers_share_the_work_so_the_limit_is_their_number_over_the_mean_seconds_of_a_row() -> None:
    lights = [
        Light(decode=0.002, write=0.001, compute={"edges": 0.004, "flow": 0.003}),
        Light(decode=0.004, write=0.003, compute={"edges": 0.002, "flow": 0.001}),
    ]
    found = light_figures(IngestFigures(rows=600, seconds={"compute": {"edges": 6.0}}), 4.0, lights)
    assert found.parts == pytest.approx({"decode": 0.003, "write": 0.002, "edges": 0.003, "flow": 0.002})
    assert found.light_frames_per_second == pytest.approx(2 / 0.010)
    assert found.frames_per_second == 150.0
    assert found.share == pytest.approx(0.75)
    assert found.features_share == pytest.approx(600 * 0.005 / 6.0)


@pytest.mark.parametrize(("gpu_seconds", "limit"), [(0.001, 4 / 0.008), (0.015, 1 / 0.016)])
def test_whatever_takes_longer_is_the_limit(gpu_seconds: float, limit: float) -> None:
    cpus = [Light(decode=0.004, write=0.001, compute={"edges": 0.001})] * 4
    gpu = [Light(decode=9.0, write=0.001, compute={"vit": gpu_seconds})]
    found = light_figures(IngestFigures(rows=1), 1.0, cpus, gpu)
    assert found.parts["decode"] == 0.004, "those with a GPU read stored pixels"
    assert found.parts["write"] == pytest.approx(0.002)
    assert found.light_frames_per_second == pytest.approx(limit)


def test_without_features_there_is_no_share_of_theirs() -> None:
    alone = Light(decode=0.004, write=0.001, compute={})
    assert (
        light_figures(IngestFigures(rows=10, seconds={"compute": {"pixels": 1.0}}), 1.0, [alone]).features_share is None
    )
    busy = Light(decode=0.004, write=0.001, compute={"edges": 0.1})
    assert light_figures(IngestFigures(rows=10), 1.0, [busy]).features_share is None, "no time was measured"
