"""`patchlake scheduler` and `patchlake worker` as anybody starts them, over TLS: leaving in time, and who is let in."""

import asyncio
import os
import signal
import threading
from functools import partial
from pathlib import Path

import jobs
import psutil
import pytest
from command_line import running
from distributed import Client
from distributed.comm import connect as connect_comm
from distributed.security import Security

from patchlake.cluster import run_items
from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds import address
from patchlake.cluster.kinds.registry import parse
from patchlake.cluster.tls import files_in, security_of


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A scheduler over TLS; yields the folder of its file and certificates."""
    folder = tmp_path_factory.mktemp("scheduler")
    file, certificates = str(folder / "scheduler.json"), str(folder / "tls")
    with running("scheduler", "--scheduler-file", file, "--tls", certificates, "--host", "127.0.0.1", "--no-dashboard"):
        jobs.wait_until(lambda: Path(file).exists())
        yield folder


@pytest.fixture
def spec(place):
    return parse({"kind": "address", "scheduler_file": str(place / "scheduler.json"), "tls": str(place / "tls")})


@pytest.fixture
def worker(place):
    """Start workers: each call returns a context manager."""
    return partial(running, "worker", "--scheduler-file", str(place / "scheduler.json"), "--tls", str(place / "tls"))


def begun(folder):
    """Count how often each item was begun, and by how many workers."""
    lines = {path.name: path.read_text().split() for path in folder.glob("item-*")}
    return {name: len(pids) for name, pids in lines.items()}, {pid for pids in lines.values() for pid in pids}


def test_no_item_is_started_that_its_job_would_cut_off(spec, worker, tmp_path):
    """One worker's job ends in the midst of the run: it leaves by itself, and nothing was done twice."""
    work = partial(jobs.note_begin_and_sleep, folder=str(tmp_path), seconds=1.5)
    with worker("--lifetime", "9 s", "--grace", "1 s") as short, connect(spec) as cluster:
        jobs.wait_until(lambda: cluster.num_workers == 1)
        with worker():
            outcomes = list(cluster.run(work, range(10)))
            assert short.wait(20) == 0
    assert sorted(o.result for o in outcomes) == list(range(10))
    times, pids = begun(tmp_path)
    assert set(times.values()) == {1}
    assert len(pids) == 2


def test_sigterm_hands_back_and_ends_in_time(spec, worker, tmp_path):
    """A queue sends SIGTERM to every process of a job: the unit in work is ended, those that wait go elsewhere."""
    work = partial(jobs.note_begin_and_sleep, folder=str(tmp_path), seconds=1.0)
    with worker("--grace", "8 s") as leaving, connect(spec) as cluster:
        jobs.wait_until(lambda: cluster.num_workers == 1)
        with worker():
            jobs.wait_until(lambda: cluster.num_workers == 2)
            outcomes = []
            for outcome in cluster.run(work, range(6)):
                outcomes.append(outcome)
                if len(outcomes) == 2:
                    os.killpg(leaving.pid, signal.SIGTERM)
            assert leaving.wait(10) == 0
    assert sorted(o.result for o in outcomes) == list(range(6))
    assert set(begun(tmp_path)[0].values()) == {1}


def test_an_item_goes_only_where_there_is_room_for_it(spec, worker):
    """Two workers, of which one is small: it gets nothing that takes more memory than it offers."""
    with worker("--memory-limit", "900 MiB"), worker("--memory-limit", "600 MiB"), connect(spec) as cluster:
        jobs.wait_until(lambda: cluster.num_workers == 2)
        large, small = cluster.memory(800 << 20), cluster.memory(500 << 20)
        (roomy,) = cluster.workers(large)
        assert cluster.info()[roomy]["memory_limit"] == 900 << 20
        assert {o.worker for o in cluster.run(jobs.double_slowly, range(12), resources=large)} == {roomy}
        assert len({o.worker for o in cluster.run(jobs.double_slowly, range(12), resources=small)}) == 2
        with pytest.raises(ClusterError, match=r"takes at least 1,024 MiB.*at most 900 MiB"):
            list(cluster.run(jobs.double, [1], resources=cluster.memory(1 << 30)))


def test_a_unit_longer_than_any_job_ends_the_run(spec, worker, tmp_path, monkeypatch):
    monkeypatch.setattr(run_items, "MOST_CUTS", 2)
    work = partial(jobs.note_begin_and_sleep, folder=str(tmp_path), seconds=600)
    with worker("--grace", "2 s"), worker("--grace", "2 s"), connect(spec) as cluster:
        jobs.wait_until(lambda: cluster.num_workers == 2)

        def preempt():
            for count in (1, 2):
                jobs.wait_until(lambda n=count: begun(tmp_path)[0].get("item-0", 0) == n)
                nanny = psutil.Process(int((tmp_path / "item-0").read_text().split()[-1])).parent()
                nanny.terminate()
                nanny.wait(20)

        threading.Thread(target=preempt, daemon=True).start()
        with pytest.raises(ClusterError, match=r"cut off 2 times.*walltime"):
            list(cluster.run(work, range(1)))


def test_strangers_are_refused_and_all_listen_on_loopback(place, spec, worker, monkeypatch):
    """Scheduler, nanny and worker refuse plain TCP and a foreign certificate; docs/clusters.md lists the ports."""
    monkeypatch.setattr(address, "CONNECT_TIMEOUT_SECONDS", 2)
    with worker() as one, connect(spec) as cluster:
        jobs.wait_until(lambda: cluster.num_workers == 1)
        scheduler = cluster.client.scheduler.address
        (info,) = cluster.client.scheduler_info()["workers"].values()
        (worker_address,) = cluster.workers()
        for listener in (scheduler, worker_address, info["nanny"]):
            assert listener.startswith("tls://127.0.0.1:")
            plain = listener.replace("tls://", "tcp://")
            assert knock(listener, security_of(files_in(place / "tls"))) is None
            assert isinstance(knock(listener, Security.temporary()), OSError)
            assert isinstance(knock(plain, Security()), OSError)
        with pytest.raises(OSError, match=r"."):
            Client(scheduler.replace("tls://", "tcp://"), timeout=2, set_as_default=False)
        stranger = {"kind": "address", "address": scheduler, "tls": str(place / "other")}
        from patchlake.cluster.tls import make_certificates

        make_certificates(place / "other")
        with connect(parse(stranger)) as other, pytest.raises(ClusterError, match="No scheduler answers"):
            other.require(None)
        listening = jobs.ports_of(one.pid)
        assert {ip for ip, _ in listening} == {"127.0.0.1"}
        assert len(listening) == 3  # nanny, worker, the worker's health page
    assert (place / "tls").stat().st_mode & 0o777 == 0o700


def knock(listener, security):
    """Connect and ask for the identity; returns the error, if any."""

    async def ask():
        comm = await connect_comm(listener, timeout=2, **security.get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            await asyncio.wait_for(comm.read(), 2)
        finally:
            await comm.close()

    try:
        asyncio.run(ask())
    except Exception as error:
        return error
    return None
