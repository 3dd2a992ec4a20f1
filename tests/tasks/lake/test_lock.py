"""One coordinator owns a lake: by real processes, in a folder and on a real S3 server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake import lock
from patchlake.tasks.lake.layout import LOCK
from patchlake.tasks.lake.lock import Lock, LockedError, Owner, hold, owners
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.process_identity import start_of, this_process

HOLDER = """
import sys, time
from patchlake.tasks.storage.location import Location
from patchlake.tasks.lake.lock import hold
with hold(Location(sys.argv[1]), "theirs"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    if request.param == "folder":
        return Location(str(tmp_path / "lake"))
    for name, value in request.getfixturevalue("s3").items():
        monkeypatch.setenv(name, value)
    return Location(f"s3://lakes/{tmp_path.name}")


@pytest.fixture
def holder(lake: Location) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the lake."""
    command = [sys.executable, "-c", HOLDER, str(lake), "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def elsewhere(lake: Location, *, beat: float) -> Owner:
    """Write the lock of an owner on another machine."""
    process = replace(this_process(), host="node7", machine="another")
    owner = Owner(run_id="far", user="ada", process=process, started=beat, beat=beat)
    lake.put(f"{LOCK}/000007.json", json.dumps(asdict(owner)).encode())
    return owner


def test_a_second_one_is_refused_with_the_owner_s_name(lake: Location, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockedError) as refused, hold(lake, "ours"):
        pass
    said = str(refused.value)
    assert "run theirs of " in said
    assert f"(process {holder.pid}), since 20" in said
    assert str(lake) in said
    assert [owner.run_id for owner in owners(lake).values()] == ["theirs"]


def test_a_killed_owner_is_followed_at_once(lake: Location, holder: subprocess.Popen[str]) -> None:
    """Not even its zombie, which nobody has waited for yet, counts as alive."""
    holder.kill()
    while start_of(holder.pid):
        time.sleep(0.01)
    with hold(lake, "ours"):
        assert [owner.run_id for owner in owners(lake).values()] == ["ours"]
    assert not owners(lake)


def test_who_waits_gets_it_when_it_is_given_back(lake: Location) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lake), "1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with hold(lake, "ours", wait_seconds=60):
            assert [owner.run_id for owner in owners(lake).values()] == ["ours"]


def test_of_many_takers_one_wins(lake: Location) -> None:
    """First of a free lake, then of one whose owner is dead."""
    for _ in range(4):
        elsewhere(lake, beat=time.time() - lock.EXPIRE_SECONDS - 1)
        start = threading.Barrier(8)

        def take(i: int, start: threading.Barrier = start) -> Lock | None:
            mine = Lock(lake, f"taker{i}")
            start.wait()
            return mine if mine.try_take() is None else None

        with ThreadPoolExecutor(8) as pool:
            won = [taken for taken in pool.map(take, range(8)) if taken is not None]
        assert len(won) == 1
        assert [owner.run_id for owner in owners(lake).values()] == [won[0].owner.run_id]
        won[0].release()
        assert not owners(lake)


def test_an_owner_elsewhere_lives_as_long_as_it_says_so(lake: Location) -> None:
    elsewhere(lake, beat=time.time() - lock.EXPIRE_SECONDS + 20)
    with pytest.raises(LockedError, match=r"run far of ada on node7"), hold(lake, "ours"):
        pass
    elsewhere(lake, beat=time.time() - lock.EXPIRE_SECONDS - 1)
    with hold(lake, "ours"):
        assert [owner.run_id for owner in owners(lake).values()] == ["ours"]


def test_a_pid_that_another_process_has_now_is_not_the_owner(lake: Location) -> None:
    owner = replace(elsewhere(lake, beat=time.time()), process=replace(this_process(), start=1))
    lake.put(f"{LOCK}/000007.json", json.dumps(asdict(owner)).encode())
    with hold(lake, "ours"):
        assert [owner.run_id for owner in owners(lake).values()] == ["ours"]


def test_an_owner_says_that_it_lives(lake: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    with hold(lake, "ours") as mine:
        while not any(owner.beat > owner.started for owner in owners(lake).values()):
            time.sleep(0.01)
        assert mine.owner.started < mine.owner.beat


def test_who_lost_the_lock_commits_nothing_and_stops(lake: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    told = threading.Event()

    def lose_it() -> None:
        with hold(lake, "ours") as mine:
            mine.on_lost = told.set
            elsewhere(lake, beat=time.time())
            assert told.wait(20)
            tables = Tables(lake, mine.check)
            with pytest.raises(LakeError, match="lost the lock"):
                tables.sources.append([dict.fromkeys(tables.sources.schema.names)])
            assert tables.sources.delta is None
            raise KeyboardInterrupt  # as the signal does

    with pytest.raises(LakeError, match=r"lost the lock: now run far of ada on node7"):
        lose_it()
    assert [owner.run_id for owner in owners(lake).values()] == ["far"]


@pytest.mark.parametrize("text", [b"", b"\0" * 300, b'{"run_id": "cut', b"null", b'{"run_id": "x", "process": {}}'])
def test_a_lock_that_says_not_whose_it_is_counts_as_a_dead_run_s(
    lake: Location, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lake.put(f"{LOCK}/000007.json", text)
    lock.refuse_if_held(lake)
    assert "000007.json says not who wrote it" in caplog.text
    with hold(lake, "ours"):
        assert [owner.run_id for owner in owners(lake).values()] == ["ours"]
    lake.put(f"{LOCK}/000009.json", text)
    assert [owner.run_id for owner in lock.remove_dead(lake)] == ["unreadable-000009"]
    assert not owners(lake)


def test_a_lock_of_a_version_that_writes_more_is_its_owner_s(lake: Location) -> None:
    owner = elsewhere(lake, beat=time.time())
    lake.put(f"{LOCK}/000007.json", json.dumps({**asdict(owner), "color": "blue"}).encode())
    assert list(owners(lake).values()) == [owner]


def test_a_lock_whose_writing_was_not_answered_is_one_s_own(lake: Location) -> None:
    mine = Lock(lake, "ours")
    lake.put(f"{LOCK}/000007.json", json.dumps(asdict(mine.owner)).encode())
    assert mine.try_take() is None
    assert mine.name == f"{LOCK}/000007.json"
    mine.beat()
    mine.release()
    assert not owners(lake)
