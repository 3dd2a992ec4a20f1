"""One rank of a gang: a task pinned to a worker that runs the program in a disposable child process."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import IO, Any

import psutil
from distributed import Worker, get_worker
from distributed.comm.addressing import get_address_host

POLL_SECONDS = 0.1
STDERR_BYTES = 4096
ALIVE = ("executing", "long-running")
"""States of a task that somebody still waits for. Dask can't interrupt a cancelled task, but its state changes."""

_children: dict[str, subprocess.Popen[str]] = {}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """What one child process is given."""

    module: str
    payload: dict[str, Any]
    rank: int
    world_size: int
    master_address: str
    master_port: int
    group_timeout_seconds: float
    topic: str
    """Where its lines are sent; each attempt has a topic of its own."""

    def environment(self) -> dict[str, str]:
        """Return what torch.distributed reads at `init_process_group(init_method="env://")`."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": "0",
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(self.master_port),
            "PYTHONUNBUFFERED": "1",  # or lines would come in lumps
            "PATCHLAKE_GROUP_TIMEOUT_SECONDS": str(self.group_timeout_seconds),
        }


@dataclass(frozen=True, kw_only=True)
class RankEnd:
    """How one child process ended."""

    rank: int
    returncode: int
    stderr: str
    result: dict[str, Any] | None


def run_rank(rank: Rank) -> RankEnd:
    """Run the child to its end, or kill it as soon as nobody waits for this task any more (the Dask task)."""
    worker = get_worker()
    key = str(worker.get_current_task())
    worker.log_event(rank.topic, {"event": "rank_started", "rank": rank.rank})
    # PDEATHSIG follows the thread that forks: this one, which stays until the child has ended.
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "patchlake.cluster.gang.die_with_parent", str(os.getpid()), rank.module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**_interface_of(worker.address), **os.environ, **rank.environment()},
    )
    _children[rank.topic] = child
    try:
        return _watch(rank, child, worker, key)
    finally:
        child.kill()
        child.wait()
        del _children[rank.topic]


def _interface_of(address: str) -> dict[str, str]:
    """Return the variables by which gloo and nccl listen on the interface of the worker's address, and on no other."""
    host = get_address_host(address)
    for name, places in psutil.net_if_addrs().items():
        if host in [place.address for place in places]:
            return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}
    return {}


def _watch(rank: Rank, child: subprocess.Popen[str], worker: Worker, key: str) -> RankEnd:
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    result: list[dict[str, Any]] = []
    stderr: deque[str] = deque(maxlen=STDERR_BYTES)
    threads = [
        threading.Thread(target=_forward, args=(child.stdout, rank, worker, result), daemon=True),
        threading.Thread(target=_keep, args=(child.stderr, stderr), daemon=True),
        threading.Thread(target=_feed, args=(child.stdin, rank.payload), daemon=True),
    ]
    for thread in threads:
        thread.start()
    while child.poll() is None:
        task = worker.state.tasks.get(key)
        if task is None or task.state not in ALIVE:
            child.kill()
        time.sleep(POLL_SECONDS)
    for thread in threads:
        thread.join(timeout=5)  # a grandchild may hold the pipes open
    last = result[-1] if result else None
    return RankEnd(rank=rank.rank, returncode=child.returncode, stderr="".join(stderr), result=last)


def _feed(stdin: IO[str], payload: dict[str, Any]) -> None:
    try:
        with stdin:
            json.dump(payload, stdin)
    except BrokenPipeError:
        pass  # the child died early; its exit says why


def _keep(stderr: IO[str], kept: deque[str]) -> None:
    for line in stderr:
        kept.extend(line)


def _forward(stdout: IO[str], rank: Rank, worker: Worker, result: list[dict[str, Any]]) -> None:
    """Send each JSON line on; keep the result. Other prints of the program are passed on as text."""
    for line in stdout:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            event = {"event": "print", "text": line.rstrip("\n")}
        if event["event"] == "result":
            result.append(event)
        else:
            worker.log_event(rank.topic, {**event, "rank": rank.rank})


def reap(topic: str, patience_seconds: float) -> bool:
    """Kill the attempt's child on this worker, if any, and return whether it is gone."""
    deadline = time.monotonic() + patience_seconds
    while (child := _children.get(topic)) is not None and time.monotonic() < deadline:
        child.kill()
        time.sleep(POLL_SECONDS)
    return topic not in _children


def free_port() -> int:
    """Find a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
