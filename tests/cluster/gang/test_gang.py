import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jobs
import pytest

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError, GangError, GangStopped
from patchlake.cluster.gang import attempt
from patchlake.cluster.gang.run_gang import run_gang
from patchlake.cluster.kinds.local import LocalSpec
from patchlake.cluster.spec import GPU

PROGRAM = "gang_program"


def alive_ranks(folder):
    """Pids of the ranks that noted themselves in the folder and still run."""
    pids = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    return [pid for pid in pids if state_of(pid) not in (None, "Z", "X")]


def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_ranks_meet_and_rank_0_tells_the_result(cluster, tmp_path):
    events = []
    result = run_gang(cluster, PROGRAM, {"folder": str(tmp_path), "steps": 3}, on_event=events.append)
    assert (result["last"], result["world"], result["resumed_from"]) == (4.0, 2, 0)
    steps = [(e["step"], e["rank"]) for e in events if e["event"] == "step"]
    assert sorted(steps) == [(step, rank) for step in range(3) for rank in range(2)]
    assert [e["text"] for e in events if e["event"] == "print"] == ["done"]
    assert events[0]["event"] == "gang_started"
    assert alive_ranks(tmp_path) == []


def test_ranks_listen_on_their_worker_s_interface_alone(cluster, tmp_path):
    """Ranks that have found each other as in a training; torch by itself would listen on all of them."""
    before = jobs.ports_of(os.getpid())
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run_gang, cluster, "listening_program", {"folder": str(tmp_path)}, on_event=lambda _: None)
        jobs.wait_until(lambda: done.done() or len(list(tmp_path.glob("joined-*"))) == 2, 60)
        more = jobs.ports_of(os.getpid()) - before
        (tmp_path / "seen").touch()
        done.result()
    assert len(more) >= 2
    assert {ip for ip, _ in more} == {"127.0.0.1"}


@pytest.mark.parametrize(("whom", "sent"), [("rank", "SIGKILL"), ("worker", "SIGKILL"), ("rank", "SIGSTOP")])
def test_a_fault_restarts_all_ranks_from_the_checkpoint(cluster, tmp_path, whom, sent):
    events, survivors = [], []

    def on_event(event):
        events.append(event)
        if event["event"] == "gang_started":
            survivors.extend(alive_ranks(tmp_path))

    fault = {"rank": 1, "step": 2, "whom": whom, "signal": sent}
    payload = {"folder": str(tmp_path), "steps": 4, "fault": fault}
    result = run_gang(cluster, PROGRAM, payload, on_event=on_event, group_timeout_seconds=3)
    assert (result["last"], result["world"], result["resumed_from"]) == (6.0, 2, 2)
    assert [e["event"] for e in events].count("gang_failed") >= 1
    assert survivors == []
    assert alive_ranks(tmp_path) == []


@pytest.mark.parametrize("whom", ["rank", "worker"])
def test_silence_of_all_ranks_is_a_failure_too(cluster, tmp_path, whom, monkeypatch):
    monkeypatch.setattr(attempt, "REAP_SECONDS", 2)
    pids = cluster.each_worker(jobs.pid)
    stopped = []

    def on_event(event):
        if whom == "worker" and event["event"] == "step" and not stopped:
            stopped.append(pids[event["worker"]])
            os.kill(stopped[0], signal.SIGSTOP)

    payload = {"folder": str(tmp_path)}
    result = run_gang(cluster, "silent_program", payload, ranks=1, on_event=on_event, stall_timeout_seconds=2)
    assert result["event"] == "result"
    assert alive_ranks(tmp_path) == []


def test_a_broken_program_ends_with_what_it_said(cluster, tmp_path):
    with pytest.raises(GangError, match=r"failed 2 times on 2 ranks(?s:.*)the program is broken"):
        run_gang(
            cluster,
            PROGRAM,
            {"folder": str(tmp_path), "broken": True},
            on_event=lambda _: None,
            max_restarts=1,
        )


def test_two_gangs_take_turns(cluster, tmp_path):
    def run_named(name):
        payload = {"folder": str(tmp_path), "name": name, "steps": 3, "seconds_per_step": 0.2}
        return run_gang(cluster, PROGRAM, payload, on_event=lambda _: None)

    with ThreadPoolExecutor(2) as pool:
        first, second = sorted(pool.map(run_named, ["a", "b"]), key=lambda result: result["began"])
    assert first["ended"] <= second["began"]
    assert (first["last"], second["last"]) == (4.0, 4.0)


def test_a_gang_meets_while_items_run(cluster, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        items = pool.submit(lambda: sorted(o.result for o in cluster.run(jobs.double_slowly, range(80))))
        time.sleep(0.5)
        payload = {"folder": str(tmp_path), "steps": 2}
        assert run_gang(cluster, PROGRAM, payload, on_event=lambda _: None)["world"] == 2
        assert items.result(timeout=60) == [2 * x for x in range(80)]


def test_an_error_of_the_listener_kills_the_ranks(cluster, tmp_path):
    def on_event(event):
        if event["event"] == "step":
            raise KeyboardInterrupt

    payload = {"folder": str(tmp_path), "steps": 1000, "seconds_per_step": 0.1}
    with pytest.raises(KeyboardInterrupt):
        run_gang(cluster, PROGRAM, payload, on_event=on_event)
    assert alive_ranks(tmp_path) == []


def test_too_many_ranks_are_refused(cluster):
    with pytest.raises(ClusterError, match="3 ranks need 3 workers"):
        run_gang(cluster, PROGRAM, {}, ranks=3, on_event=lambda _: None)
    with pytest.raises(ClusterError, match="No worker offers"):
        run_gang(cluster, PROGRAM, {}, resources=GPU, on_event=lambda _: None)


def test_stop_ends_the_gang(tmp_path):
    with connect(LocalSpec(workers=1, dashboard=False)) as cluster:

        def on_event(event):
            if event["event"] == "step":
                threading.Timer(0, cluster.stop).start()

        payload = {"folder": str(tmp_path), "steps": 1000, "seconds_per_step": 0.1}
        with pytest.raises(GangStopped, match="resumes"):
            run_gang(cluster, PROGRAM, payload, on_event=on_event)
        assert alive_ranks(tmp_path) == []
        assert os.listdir(tmp_path)
