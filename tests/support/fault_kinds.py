"""Harm done to runs at seeded moments: who is killed, stopped, filled up, cut off or poisoned, and when."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from command_line import end_group
from object_store import Meter

from patchlake.tasks.failpoints import POINTS, RANK_POINTS, REDUCE_POINTS, TRAIN_POINTS, WORKER_POINTS

NUM_CLIPS = 202
"""One a slot, and a slot is a unit."""
CLIP_FRAMES = 18
CLIP_NUMBERS = 19
"""A clip begins with this times its number; frames tell their number by their pixels."""
MOST = {**dict.fromkeys((*WORKER_POINTS, "reducing"), 40), "training_step": 16, "epoch_trained": 2}
"""How often a process may come to a moment before harm is done, where that is often: each of two has a hundred units,
and training two epochs of nine steps."""


@dataclass
class Scene:
    """What the harm is done to: a run that waits at its moment."""

    run: subprocess.Popen[str]
    at: int
    """Process id of who waits."""
    lake: str
    env: dict[str, str]
    server: subprocess.Popen[bytes] | None = None
    """Prefect's, or Dask's scheduler."""
    door: Meter | None = None
    """What leads to the object store."""

    def below(self, word: str) -> list[psutil.Process]:
        """Return the processes below the run whose command line holds a word; who waits and its kin come first."""
        found, kin = [], {self.at}
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have fallen victim to an earlier harm
            process = psutil.Process(self.at)
            kin |= {process.ppid(), *(child.pid for child in process.children())}
        for process in psutil.Process(self.run.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(word in part for part in process.cmdline()):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid not in kin)


def kill_worker(scene: Scene) -> None:
    scene.below("spawn_main")[0].kill()


def stop_worker(scene: Scene) -> None:
    scene.below("spawn_main")[0].suspend()


def kill_decoder(scene: Scene) -> None:
    for child in scene.below("patchlake.tasks.video.child"):
        child.kill()


def kill_rank(scene: Scene) -> None:
    os.kill(scene.at, signal.SIGKILL)


def kill_flow(scene: Scene) -> None:
    scene.run.kill()


def kill_all(scene: Scene) -> None:
    os.killpg(scene.run.pid, signal.SIGKILL)


def kill_server(scene: Scene) -> None:
    assert scene.server is not None
    end_group(scene.server.pid)
    scene.server.wait()


def fill_disk(scene: Scene) -> None:
    with (Path(scene.lake).parent / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)


def cut_store(scene: Scene) -> None:
    assert scene.door is not None
    scene.door.shut()


def cancel_job(scene: Scene) -> None:
    _slurm(scene, "scancel", job_of(scene))


def requeue_job(scene: Scene) -> None:
    _slurm(scene, "scontrol", "requeue", job_of(scene))


def job_of(scene: Scene) -> str:
    """Return the Slurm job that waits, or if the coordinator does, one of its workers'."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if job := psutil.Process(scene.at).environ().get("SLURM_JOB_ID"):
            return job
    return _slurm(scene, "squeue", "-h", "-t", "R", "-o", "%i").split()[0]


def _slurm(scene: Scene, *command: str) -> str:
    env = {**os.environ, **scene.env}
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


Part = Literal["ingest", "reduce", "train"]


@dataclass(frozen=True)
class Kind:
    """A kind of harm."""

    do: Callable[[Scene], None] | None
    """None: the harm lies in a clip."""
    codes: tuple[int, ...]
    """Exit codes that the harmed run may have."""
    points: tuple[str, ...] = POINTS
    part: Part = "ingest"
    """Of the run: what comes before it is in the lake already."""
    says: str = ""
    """What the harmed run has to say."""
    env: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    """Further ones of the command line."""
    reason: str = ""
    """The verdict on a clip that harms."""
    needs: str = ""
    """The environment variable that leads to the infrastructure that this kind needs."""
    together: bool = False
    """Whether one run can be harmed several times (not in training: ranks that start again count anew, so that a second
    moment may never come)."""


_ON = POINTS[1:-1]
_AGAIN = "all ranks start again from the last checkpoint"
SLURM_OPTIONS = "{kind: slurm, interface: lo, wait: 60 s, grace: 3 s, memory: 2 GiB, workers: 2, dashboard: false}"
_SLURM = ("--set", f"cluster={SLURM_OPTIONS}")
KINDS = {
    "worker": Kind(kill_worker, (0,), points=_ON, together=True),
    "decoder": Kind(kill_decoder, (0,), points=_ON, together=True),
    "stopped worker": Kind(
        stop_worker, (0,), points=_ON, env={"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s"}, together=True
    ),
    "flow": Kind(kill_flow, (-9,)),
    "everything": Kind(kill_all, (-9,)),
    "full disk": Kind(fill_disk, (1,), points=POINTS[:-2], says="there is no room left on the disk"),
    "server": Kind(kill_server, (0,), says="patchlake: the Prefect server at http://127.0.0.1"),
    "scheduler": Kind(kill_server, (1,), points=(POINTS[0], *POINTS[3:-1]), says="cheduler"),
    "poison clip": Kind(None, (0,), env={"HARM": "die"}, reason="crash", together=True),
    "memory limit": Kind(
        None,
        (0,),
        env={"HARM": "eat"},
        options=("--set", "cluster.memory_limit=1 GiB"),
        reason="memory",
        together=True,
    ),
    "GPU error": Kind(None, (0,), env={"HARM": "gpu"}, reason="crash", says="this worker's GPU can't", together=True),
    "worker in reduction": Kind(kill_worker, (0,), points=REDUCE_POINTS[:1], part="reduce", together=True),
    "flow in reduction": Kind(kill_flow, (-9,), points=REDUCE_POINTS, part="reduce"),
    "rank in training": Kind(kill_rank, (0,), points=RANK_POINTS, part="train", says=_AGAIN),
    "worker in training": Kind(kill_worker, (0,), points=RANK_POINTS, part="train", says=_AGAIN),
    "flow in training": Kind(kill_flow, (-9,), points=TRAIN_POINTS, part="train"),
    "cancelled job": Kind(cancel_job, (0,), points=_ON, options=_SLURM, needs="SLURM_CONF", together=True),
    "requeued job": Kind(requeue_job, (0,), points=_ON, options=_SLURM, needs="SLURM_CONF", together=True),
    "store": Kind(
        cut_store, (1,), points=POINTS[:-2], says="the object store does not answer", needs="AWS_ENDPOINT_URL"
    ),
}


@dataclass(frozen=True)
class Moment:
    """When harm is done; where it lies in a clip, `point` is the clip's name and `count` the frame that does it."""

    kind: str
    point: str
    count: int

    @classmethod
    def seeded(cls, kind: str, seed: int) -> Moment:
        """Draw one; commits and plans are few, units many."""
        draw = random.Random(f"{kind} {seed}")
        if KINDS[kind].do is None:
            number = draw.randrange(NUM_CLIPS)
            return cls(kind, f"{number:03d}.mp4", number * CLIP_NUMBERS + draw.randrange(CLIP_FRAMES))
        point = draw.choice(KINDS[kind].points)
        return cls(kind, point, draw.randint(1, MOST.get(point, 1)))

    @property
    def order(self) -> tuple[int, int]:
        """When it comes among others of its kind in one run."""
        points = KINDS[self.kind].points
        return (points.index(self.point) if self.point in points else 0), self.count

    def __str__(self) -> str:
        return f"{self.point} {self.count}"


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that do not end by themselves; zombies, which nobody may reap here, count as ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        if not left:
            return []
        time.sleep(0.1)
    return left
