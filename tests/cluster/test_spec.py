import os

import pytest
from pydantic import ValidationError

from patchlake.cluster.kinds import local
from patchlake.cluster.kinds.local import LocalSpec
from patchlake.cluster.kinds.registry import parse


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "address"}, "no address is given"),
        ({"address": "tcp://h:1"}, "unknown key"),
        ({"workers": 0}, "greater than"),
        ({"gpus": -1}, "expected 0 or more"),
        ({"memory_limit": "much"}, "memory_limit is 'much'"),
        ({"threads": 2}, "unknown key"),
        ({"kind": "moon"}, "expected one of: local, ssh, address, slurm"),
    ],
)
def test_bad_specs_are_refused_with_a_sentence(given, said):
    with pytest.raises(ValidationError, match=said):
        parse(given)


def test_auto_counts_usable_cores():
    assert LocalSpec(gpus=0).num_workers() == len(os.sched_getaffinity(0))


def test_gpu_workers_are_among_the_workers():
    assert LocalSpec(workers=3, gpus=2).num_workers() == 3
    assert LocalSpec(workers=1, gpus=2).num_workers() == 2


def test_visible_devices_name_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    monkeypatch.setattr(local, "torch_uses_cuda", lambda: True)
    assert LocalSpec().gpu_ids() == ["3", "5"]
    assert LocalSpec(gpus=1).gpu_ids() == ["3"]
    monkeypatch.setattr(local, "torch_uses_cuda", lambda: False)
    assert LocalSpec().gpu_ids() == []


def test_hidden_devices_are_not_counted(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(local, "torch_uses_cuda", lambda: True)
    assert LocalSpec().gpu_ids() == []


def test_a_given_number_of_gpus_is_obeyed(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local, "visible_gpus", list)
    assert LocalSpec(gpus=2).gpu_ids() == ["0", "1"]
