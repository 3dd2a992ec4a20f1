import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from functools import partial

import jobs
import psutil
import pytest

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.local import LocalSpec

SPEC = LocalSpec(workers=2, dashboard=False)


@pytest.fixture(scope="module")
def setup_folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def cluster(setup_folder):
    with connect(SPEC, setup=partial(jobs.note_setup, setup_folder)) as cluster:
        yield cluster


def test_setup_ran_in_each_worker_and_again_after_a_restart(cluster, setup_folder):
    assert set(cluster.each_worker(jobs.setup_done, setup_folder).values()) == {True}
    before = cluster.each_worker(jobs.pid)
    victim = next(iter(before.values()))
    outcomes = []
    for outcome in cluster.run(partial(jobs.double_after_setup, folder=setup_folder), range(40)):
        outcomes.append(outcome)
        if len(outcomes) == 5:
            os.kill(victim, signal.SIGKILL)
    assert sorted((o.item, o.result) for o in outcomes) == [(x, 2 * x) for x in range(40)]
    wait_for_workers(cluster, 2)
    after = cluster.each_worker(jobs.pid)
    assert victim not in after.values()
    assert set(cluster.each_worker(jobs.setup_done, setup_folder).values()) == {True}


def test_an_item_that_kills_its_worker_once_still_comes(cluster, tmp_path):
    function = partial(jobs.die_once, victim=3, folder=str(tmp_path))
    outcomes = list(cluster.run(function, range(20)))
    assert sorted((o.item, o.result) for o in outcomes) == [(x, 2 * x) for x in range(20)]
    assert (tmp_path / "died").exists()


def test_a_poisoned_item_is_condemned_alone():
    with connect(LocalSpec(workers=1, dashboard=False)) as cluster:
        function, again = partial(jobs.die_if_poisoned, poison=2), []
        tell = lambda item, why: again.append((item, why))  # noqa: E731
        outcomes = list(cluster.run(function, range(12), on_retry=tell))
    good = [(o.item, o.result) for o in outcomes if o.ok]
    assert sorted(good) == [(x, 2 * x) for x in range(12) if x != 2]
    (bad,) = (o for o in outcomes if not o.ok)
    assert bad.item == 2
    assert "KilledWorker" in type(bad.error).__name__
    assert {(2, "worker_left"), (2, "alone")} <= set(again)


def test_a_setup_that_fails_is_an_error_and_leaves_nothing():
    before = set(psutil.Process().children(recursive=True))
    with connect(SPEC, setup=jobs.fail_setup) as cluster, pytest.raises(ClusterError, match="no such model"):
        list(cluster.run(jobs.double, range(5)))
    assert not set(psutil.Process().children(recursive=True)) - before


def test_a_setup_that_fails_on_a_restarted_worker_ends_the_run(tmp_path):
    with connect(
        LocalSpec(workers=1, dashboard=False), setup=partial(jobs.fail_setup_when_told, str(tmp_path))
    ) as cluster:
        (pid,) = cluster.each_worker(jobs.pid).values()
        (tmp_path / "fail").touch()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ClusterError, match="the model went away"):
            list(cluster.run(jobs.double, range(5)))


@pytest.mark.parametrize(
    ("work", "num_processes"),
    [
        ("list(cluster.run(jobs.sleep_long, range(9)))", 2),
        ("run_gang(cluster, 'silent_program', {'folder': sys.argv[1]}, on_event=print)", 4),
    ],
)
def test_a_killed_coordinator_leaves_no_process(tmp_path, work, num_processes):
    script = tmp_path / "coordinator.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        import jobs
        from patchlake.cluster.connect import connect
        from patchlake.cluster.gang.run_gang import run_gang
        from patchlake.cluster.kinds.local import LocalSpec

        if __name__ == "__main__":
            with connect(LocalSpec(workers=2, dashboard=False)) as cluster:
                {work}
        """)
    )
    coordinator = subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while len(processes := busy_children(coordinator.pid)) < num_processes:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        coordinator.kill()
        coordinator.wait()
    assert still_there(processes, seconds=10) == []


def busy_children(pid):
    """List the processes below this one that are workers or ranks, once they run Python code of their own."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie, too
            if any("spawn_main" in a or "die_with_parent" in a for a in process.cmdline()):
                found.append(process)
    return found


def wait_for_workers(cluster, count):
    deadline = time.monotonic() + 30
    while cluster.num_workers < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def still_there(processes, seconds):
    """Wait for the processes to end; zombies, which nobody may reap here, count as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not (alive := [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]):
            return []
        time.sleep(0.1)
    return alive
