import os

import pytest
from pydantic import ValidationError

from patchlake.cluster import spec as spec_module
from patchlake.cluster.spec import ClusterSpec


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "address"}, "no address is given"),
        ({"address": "tcp://h:1"}, "use kind: address"),
        ({"workers": 0}, "greater than"),
        ({"gpus": -1}, "expected 0 or more"),
        ({"memory_limit": "much"}, "memory_limit is 'much'"),
        ({"threads": 2}, "Extra inputs"),
        ({"kind": "moon"}, "'local' or 'address'"),
    ],
)
def test_bad_specs_are_refused_with_a_sentence(given, said):
    with pytest.raises(ValidationError, match=said):
        ClusterSpec(**given)


def test_auto_counts_usable_cores():
    assert ClusterSpec(gpus=0).num_workers() == len(os.sched_getaffinity(0))


def test_gpu_workers_are_among_the_workers():
    assert ClusterSpec(workers=3, gpus=2).num_workers() == 3
    assert ClusterSpec(workers=1, gpus=2).num_workers() == 2


def test_visible_devices_name_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    monkeypatch.setattr(spec_module, "torch_uses_cuda", lambda: True)
    assert ClusterSpec().gpu_ids() == ["3", "5"]
    assert ClusterSpec(gpus=1).gpu_ids() == ["3"]
    monkeypatch.setattr(spec_module, "torch_uses_cuda", lambda: False)
    assert ClusterSpec().gpu_ids() == []


def test_hidden_devices_are_not_counted(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(spec_module, "torch_uses_cuda", lambda: True)
    assert ClusterSpec().gpu_ids() == []


def test_a_given_number_of_gpus_is_obeyed(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(spec_module, "visible_gpus", list)
    assert ClusterSpec(gpus=2).gpu_ids() == ["0", "1"]
