import importlib.metadata
import os
import threading
from functools import partial

import jobs
import psutil
import pytest
from command_line import answers

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.local import LocalSpec
from patchlake.cluster.run_items import NOT_YET
from patchlake.cluster.spec import GPU
from patchlake.cluster.window import TASKS_PER_SLOT


def test_every_item_comes_once_with_its_value(cluster):
    outcomes = list(cluster.run(jobs.double, range(50)))
    assert sorted((o.item, o.result) for o in outcomes) == [(x, 2 * x) for x in range(50)]
    assert all(o.ok for o in outcomes)
    assert {o.worker for o in outcomes} <= set(cluster.workers())


def test_no_items_no_outcomes(cluster):
    assert list(cluster.run(jobs.double, [])) == []


def test_workers_are_there_while_the_clients_timer_ticks(cluster):
    """It fills what scheduler_info() returns with no workers at all; so nobody looked dead who was not."""
    client, done = cluster.client, threading.Event()

    def tick():
        while not done.is_set():
            client.sync(client._update_scheduler_info)

    timer = threading.Thread(target=tick)
    timer.start()
    try:
        assert {len(cluster.workers()) for _ in range(300)} == {2}
    finally:
        done.set()
        timer.join()


def test_equal_items_are_not_merged(cluster):
    assert [o.result for o in cluster.run(jobs.double, [7] * 10)] == [14] * 10


def test_the_scheduler_keeps_nothing_of_items_that_are_done(cluster):
    def kept(dask_scheduler):
        spans = dask_scheduler.extensions["spans"].spans.values()
        return len(dask_scheduler.tasks), [len(span.metadata["collections"]) for span in spans]

    assert len(list(cluster.run(jobs.double, range(50)))) == 50
    jobs.wait_until(lambda: cluster.client.run_on_scheduler(kept)[0] == 0, 20)
    _, num_dicts = cluster.client.run_on_scheduler(kept)
    assert num_dicts
    assert set(num_dicts) == {0}, "Dask itself keeps a dict for each item"


def test_items_are_taken_lazily_within_the_window(cluster):
    window = TASKS_PER_SLOT * cluster.num_workers
    taken = ended = 0
    in_flight, waiting = [], []

    def items():
        nonlocal taken
        for x in range(60):
            taken += 1
            in_flight.append(len(cluster.flight.window))
            waiting.append(taken - ended)
            yield x

    for _ in cluster.run(jobs.double_slowly, items(), key=lambda x: f"unit-{x}"):
        ended += 1
    assert ended == taken == 60
    assert max(in_flight) == window
    assert max(waiting) <= 2 * window  # in flight, or ended and about to be yielded


def test_threads_share_one_window(cluster):
    window = TASKS_PER_SLOT * cluster.num_workers
    most, results = [], {}

    def batch(start):
        got = []
        for outcome in cluster.run(jobs.double_slowly, range(start, start + 15)):
            most.append(len(cluster.flight.window))
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


def test_items_that_are_not_ready_are_asked_again(cluster):
    """Later items may wait for what earlier ones gave; a run beside them goes on."""
    given, ready = [], threading.Event()

    def items():
        yield from range(5)
        while not ready.is_set():
            yield NOT_YET
        yield 9

    for outcome in cluster.run(jobs.double, items()):
        given.append(outcome.result)
        if len(given) == 5:
            assert [o.result for o in cluster.run(jobs.double, [7])] == [14]
            ready.set()
    assert given[-1] == 18
    assert sorted(given) == [0, 2, 4, 6, 8, 18]


def test_a_long_item_does_not_block_short_ones(cluster):
    """What Dask had put behind it on its worker goes to the other one."""
    outcomes = [o.item for o in cluster.run(jobs.sleep_and_return, [6.0, *[0.01] * 40])]
    assert outcomes == [*[0.01] * 40, 6.0]


def test_an_abandoned_run_frees_its_window(cluster):
    outcomes = cluster.run(jobs.double_slowly, range(30))
    next(outcomes)
    outcomes.close()
    assert len(cluster.flight.window) == 0
    assert len(list(cluster.run(jobs.double, range(5)))) == 5


def test_an_error_of_the_items_is_raised_and_frees_the_window(cluster):
    def items():
        yield 1
        raise OSError("the list broke off")

    with pytest.raises(OSError, match="broke off"):
        list(cluster.run(jobs.double, items()))
    assert len(cluster.flight.window) == 0


def test_each_worker_is_asked_once(cluster):
    pids = cluster.each_worker(jobs.pid)
    assert set(pids) == set(cluster.workers())
    assert len(set(pids.values())) == cluster.num_workers == 2


def test_threads_are_capped_before_any_import(cluster):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        assert set(cluster.each_worker(jobs.environment, name).values()) == {"1"}


def test_a_missing_resource_is_an_error_not_a_wait(cluster):
    assert cluster.workers(GPU) == []
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


def test_stop_drains_what_runs_and_skips_the_rest(tmp_path):
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


def test_gpu_items_are_not_kept_waiting_by_others_in_flight(tmp_path):
    """All workers are full of others, of which each worker has more: those with a GPU come next on the worker of it."""
    with connect(LocalSpec(workers=2, gpus=1, dashboard=False)) as cluster:
        (owner,) = cluster.workers(GPU)
        others = cluster.run(jobs.double_slowly, range(60))
        ended = [next(others)]
        assert len(cluster.flight.window) >= TASKS_PER_SLOT * 2 - 1
        with_gpu = list(cluster.run(jobs.double, range(5), resources=GPU))
        assert {o.worker for o in with_gpu} == {owner}
        waiting = len([None for future in cluster.client.futures.values() if future.status == "pending"])
        assert waiting, "the others are still at it"
        ended += others
        assert sorted(o.item for o in ended) == list(range(60))


@pytest.mark.parametrize("dashboard", [True, False])
def test_a_local_cluster_listens_on_loopback_with_a_dashboard_or_without(dashboard):
    before = jobs.ports_of(os.getpid())
    with connect(LocalSpec(workers=1, dashboard=dashboard)) as cluster:
        (pid,) = cluster.each_worker(jobs.pid).values()
        there = jobs.ports_of(pid)
        here = jobs.ports_of(os.getpid()) - before - there
        assert {ip for ip, _ in here | there} == {"127.0.0.1"}
        assert (len(here), len(there)) == (3, 2)  # scheduler, its page, nanny; worker, its health page
        page = cluster.client.scheduler_info()["services"]["dashboard"]
        assert ("127.0.0.1", page) in here
        assert answers(f"http://127.0.0.1:{page}/health")
        assert (cluster.dashboard_link is not None) == dashboard


def test_another_version_on_a_worker_is_named(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == "numpy" else real(name))
    with (
        connect(LocalSpec(workers=1, dashboard=False), packages=["numpy", "patchlake"]) as cluster,
        pytest.raises(ClusterError, match=r"has numpy .* \(here 0\.1\): install the same versions"),
    ):
        cluster.require(None)


def test_a_worker_that_leaves_while_all_are_asked_is_left_out(tmp_path):
    with connect(LocalSpec(workers=2, dashboard=False)) as cluster:
        with pytest.raises(ClusterError, match="died while asked for die_if_first"):
            cluster.each_worker(jobs.die_if_first, str(tmp_path / "one"))
        jobs.wait_until(lambda: cluster.num_workers == 2)
        assert len(cluster.each_worker(jobs.die_if_first, str(tmp_path / "two"), skip_lost=True)) == 1
