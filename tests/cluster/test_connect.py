import threading
from functools import partial

import jobs
import psutil
import pytest

from patchlake.cluster import connect as connect_module
from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import GPU, LocalSpec
from patchlake.cluster.window import TASKS_PER_SLOT


def test_every_item_comes_once_with_its_value(cluster):
    outcomes = list(cluster.run(jobs.double, range(50)))
    assert sorted((o.item, o.result) for o in outcomes) == [(x, 2 * x) for x in range(50)]
    assert all(o.ok for o in outcomes)
    assert {o.worker for o in outcomes} <= set(cluster.workers())


def test_no_items_no_outcomes(cluster):
    assert list(cluster.run(jobs.double, [])) == []


def test_equal_items_are_not_merged(cluster):
    assert [o.result for o in cluster.run(jobs.double, [7] * 10)] == [14] * 10


def test_ordered_outcomes_follow_the_items(cluster):
    items = [3, 0, 2, 0, 1] * 4
    outcomes = list(cluster.run(jobs.reciprocal, items, ordered=True))
    assert [o.item for o in outcomes] == items


def test_items_are_taken_lazily_within_the_window(cluster):
    window = TASKS_PER_SLOT * cluster.slots
    taken = ended = 0
    in_flight, waiting = [], []

    def items():
        nonlocal taken
        for x in range(60):
            taken += 1
            in_flight.append(len(cluster.window))
            waiting.append(taken - ended)
            yield x

    for _ in cluster.run(jobs.double_slowly, items(), key=lambda x: f"unit-{x}"):
        ended += 1
    assert ended == taken == 60
    assert max(in_flight) == window
    assert max(waiting) <= 2 * window  # in flight, or ended and about to be yielded


def test_threads_share_one_window(cluster):
    window = TASKS_PER_SLOT * cluster.slots
    most, results = [], {}

    def batch(start):
        got = []
        for outcome in cluster.run(jobs.double_slowly, range(start, start + 15)):
            most.append(len(cluster.window))
            got.append(outcome.result)
        results[start] = sorted(got)

    threads = [threading.Thread(target=batch, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == {start: [2 * x for x in range(start, start + 15)] for start in (0, 100, 200)}
    assert max(most) <= window


def test_an_error_is_an_outcome_and_the_others_are_fine(cluster):
    outcomes = {o.item: o for o in cluster.run(jobs.reciprocal, [2, 0, 4])}
    assert (outcomes[2].result, outcomes[4].result) == (0.5, 0.25)
    assert isinstance(outcomes[0].error, ZeroDivisionError)
    assert outcomes[0].worker in cluster.workers()
    assert "jobs.py" in outcomes[0].error.__notes__[0]


@pytest.mark.parametrize("function", [jobs.raise_unpicklable, jobs.leave])
def test_odd_errors_come_back_too(cluster, function):
    (outcome,) = cluster.run(function, [3])
    assert not outcome.ok
    assert "3" in str(outcome.error)


def test_an_abandoned_run_frees_its_window(cluster):
    outcomes = cluster.run(jobs.double_slowly, range(30))
    next(outcomes)
    outcomes.close()
    assert len(cluster.window) == 0
    assert len(list(cluster.run(jobs.double, range(5)))) == 5


def test_an_error_of_the_items_is_raised_and_frees_the_window(cluster):
    def items():
        yield 1
        raise OSError("the list broke off")

    with pytest.raises(OSError, match="broke off"):
        list(cluster.run(jobs.double, items()))
    assert len(cluster.window) == 0


def test_each_worker_is_asked_once(cluster):
    pids = cluster.each_worker(jobs.pid)
    assert set(pids) == set(cluster.workers())
    assert len(set(pids.values())) == cluster.num_workers == cluster.slots == 2


def test_threads_are_capped_before_any_import(cluster):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        assert set(cluster.each_worker(jobs.environment, name).values()) == {"1"}


def test_a_missing_resource_is_an_error_not_a_wait(cluster):
    assert not cluster.has_resource("GPU")
    cluster.require(None)
    with pytest.raises(ClusterError, match=r"No worker offers .*GPU.*cluster\.gpus"):
        cluster.require(GPU)
    with pytest.raises(ClusterError, match="No worker offers"):
        list(cluster.run(jobs.double, [1], resources=GPU))


def test_a_cluster_never_used_starts_nothing():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with connect(LocalSpec(workers=2)) as cluster:
        cluster.stop()
    assert not cluster.started
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_stop_drains_what_has_begun_and_skips_the_rest(tmp_path):
    with connect(LocalSpec(workers=1, dashboard=False)) as cluster:
        done = []
        for outcome in cluster.run(partial(jobs.note_and_double, folder=str(tmp_path)), range(100)):
            done.append(outcome.item)
            if len(done) == 2:
                cluster.stop()
        begun = {int(path.name.removeprefix("begun-")) for path in tmp_path.iterdir()}
        assert set(done) == begun
        assert len(done) <= 2 + TASKS_PER_SLOT
        assert list(cluster.run(jobs.double, range(5))) == []


def test_an_explicit_gpu_gets_a_worker_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    before = set(psutil.Process().children(recursive=True))
    with connect(LocalSpec(workers=2, gpus=1)) as cluster:
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")
        (owner,) = cluster.workers(GPU)
        assert cluster.each_worker(jobs.environment, "CUDA_VISIBLE_DEVICES")[owner] == "7"
        assert sorted(cluster.each_worker(jobs.environment, "CUDA_VISIBLE_DEVICES").values()) == ["", "7"]
        outcomes = list(cluster.run(jobs.environment_of, range(20), resources=GPU))
        assert {(o.worker, o.result) for o in outcomes} == {(owner, "7")}
        children = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(children, timeout=10)
    assert len(children) >= 2
    assert alive == []


def test_another_version_on_a_worker_is_named(monkeypatch):
    real = connect_module.versions_of
    monkeypatch.setattr(connect_module, "versions_of", lambda packages: real(packages) | {"numpy": "0.1"})
    with (
        connect(LocalSpec(workers=1, dashboard=False), packages=["numpy", "patchlake"]) as cluster,
        pytest.raises(ClusterError, match=r"has numpy .* \(here 0\.1\): install the same versions"),
    ):
        cluster.require(None)


def test_a_worker_that_leaves_while_all_are_asked_is_left_out(tmp_path):
    with connect(LocalSpec(workers=2, dashboard=False)) as cluster:
        with pytest.raises(ClusterError, match="died while it was asked"):
            cluster.each_worker(jobs.die_if_first, str(tmp_path / "one"))
        jobs.wait_until(lambda: cluster.num_workers == 2)
        assert len(cluster.each_worker(jobs.die_if_first, str(tmp_path / "two"), skip_lost=True)) == 1
