"""Any cluster class by its dotted path; Dask's own stands for all."""

import jobs
import pytest

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.registry import parse


def test_a_class_is_made_sized_used_and_closed():
    options = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    spec = parse({"kind": "distributed.LocalCluster", "workers": 2, "options": options, "wait": "60 s"})
    with connect(spec) as cluster:
        cluster.require(None)
        jobs.wait_until(lambda: cluster.num_workers == 2)
        assert sorted(o.result for o in cluster.run(jobs.double, range(10))) == [2 * x for x in range(10)]
        pids = set(cluster.each_worker(jobs.pid).values())
    jobs.wait_until(lambda: not any(jobs.psutil.pid_exists(pid) for pid in pids))


def test_a_class_that_is_not_there_is_an_error():
    with connect(parse({"kind": "distributed.NoCluster"})) as cluster, pytest.raises(ClusterError, match="NoCluster"):
        cluster.require(None)
