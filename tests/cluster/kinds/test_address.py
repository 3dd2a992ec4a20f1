from functools import partial

import jobs
import pytest
from distributed import LocalCluster

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds import address
from patchlake.cluster.kinds.address import AddressSpec
from patchlake.cluster.spec import GPU


def test_a_running_scheduler_is_used_and_left_alone(tmp_path):
    options = {"resources": GPU, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as other:
        spec = AddressSpec(address=other.scheduler_address)
        for _ in range(2):
            with connect(spec, setup=partial(jobs.note_setup, str(tmp_path))) as cluster:
                assert len(cluster.workers(GPU)) == 1
                outcomes = list(cluster.run(jobs.double, range(10), resources=GPU))
                assert sorted(o.result for o in outcomes) == [2 * x for x in range(10)]
                assert set(cluster.each_worker(jobs.setup_done, str(tmp_path)).values()) == {True}
        assert len(other.scheduler_info["workers"]) == 1


def test_a_scheduler_without_workers_is_an_error_not_a_wait():
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as other:
        spec = AddressSpec(address=other.scheduler_address, wait="1 s")
        with connect(spec) as cluster, pytest.raises(ClusterError, match="No worker offers a thread"):
            list(cluster.run(jobs.double, range(10)))


def test_nobody_at_the_address_is_an_error(monkeypatch):
    monkeypatch.setattr(address, "CONNECT_TIMEOUT_SECONDS", 1)
    spec = AddressSpec(address="tcp://127.0.0.1:1")
    with (
        connect(spec) as cluster,
        pytest.raises(ClusterError, match=r"No scheduler answers at tcp://127\.0\.0\.1:1"),
    ):
        cluster.require(None)


def test_workers_without_a_gpu_are_refused_at_once_though_they_would_be_waited_for():
    options = {"dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as other:
        spec = AddressSpec(address=other.scheduler_address, wait="1 h")  # a wait would run into the test's time limit
        with connect(spec) as cluster, pytest.raises(ClusterError, match="1 workers offer no resources"):
            cluster.require(GPU)
