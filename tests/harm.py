"""Harm done to runs at seeded moments: who is killed, stopped, filled up or cut off, and when.

`python tests/harm.py --each 20` is the campaign (`make faults N=20`); it prints a table in Markdown. The store is cut
off only where AWS_ENDPOINT_URL names one with a bucket `lakes` (`tests/infra/ceph_rgw_local.sh start FOLDER`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import clips
import psutil
import yaml
from command import Done, answers, end_group, free_port, run_patchlake, running, wait_until
from objectstore import Meter, metered

from patchlake.tasks.faults import POINTS, WORKER_POINTS
from patchlake.tasks.lake.location import Location
from patchlake.tasks.lake.tables import Tables

NUM_CLIPS = 202
"""One a slot, and a slot is a unit."""
MOST_UNITS = 60
"""Of one worker before its moment comes: each of the two has about a hundred."""


@dataclass
class Scene:
    """What the harm is done to: a run that waits at its moment."""

    run: subprocess.Popen[str]
    at: int
    """Process id of who waits."""
    lake: str
    server: subprocess.Popen[bytes] | None = None
    """Prefect's, or Dask's scheduler."""
    door: Meter | None = None
    """What leads to the object store."""

    def below(self, word: str) -> list[psutil.Process]:
        """Return the processes below the run whose command line holds a word; who waits comes first."""
        found = []
        for process in psutil.Process(self.run.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(word in part for part in process.cmdline()):
                    found.append(process)
        mine = {self.at, *(child.pid for child in psutil.Process(self.at).children())}
        return sorted(found, key=lambda process: process.pid not in mine)


def kill_worker(scene: Scene) -> None:
    scene.below("spawn_main")[0].kill()


def stop_worker(scene: Scene) -> None:
    scene.below("spawn_main")[0].suspend()


def kill_decoder(scene: Scene) -> None:
    for child in scene.below("patchlake.tasks.child"):
        child.kill()


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


@dataclass(frozen=True)
class Kind:
    """A kind of harm."""

    do: Callable[[Scene], None]
    codes: tuple[int, ...]
    """Exit codes that the harmed run may have."""
    points: tuple[str, ...] = POINTS
    says: str = ""
    """What the harmed run has to say, if it ends with 1."""
    env: dict[str, str] = field(default_factory=dict)


KINDS = {
    "worker": Kind(kill_worker, (0,), points=POINTS[1:-1]),
    "decoder": Kind(kill_decoder, (0,), points=POINTS[1:-1]),
    "stopped worker": Kind(
        stop_worker, (0,), points=POINTS[1:-1], env={"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s"}
    ),
    "flow": Kind(kill_flow, (-9,)),
    "everything": Kind(kill_all, (-9,)),
    "full disk": Kind(fill_disk, (1,), points=POINTS[:-2], says="no room left"),
    "server": Kind(kill_server, (0, 1)),
    "scheduler": Kind(kill_server, (1,), points=(POINTS[0], *POINTS[3:-1]), says="cheduler"),
    "store": Kind(cut_store, (1,), points=POINTS[:-2], says="the object store does not answer"),
}


@dataclass(frozen=True)
class Moment:
    """When harm is done."""

    kind: str
    point: str
    count: int

    @classmethod
    def seeded(cls, kind: str, seed: int) -> Moment:
        """Draw one; commits and plans are few, units many."""
        draw = random.Random(f"{kind} {seed}")
        point = draw.choice(KINDS[kind].points)
        return cls(kind, point, draw.randint(1, MOST_UNITS) if point in WORKER_POINTS else 1)


def render_corpus(folder: Path) -> Path:
    """Render as many clips as there shall be units, no two alike, in two folders."""
    for i in range(NUM_CLIPS):
        path = folder / ("left" if i % 2 else "right") / f"{i:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        clips.render(path, num_frames=18, size=(48, 64), gop=9, start=19 * i)
    return folder


def recipe(path: Path, corpus: Path, lake: str) -> str:
    """Write the recipe and return its path."""
    wanted = {
        "name": "small",
        "lake": lake,
        "corpus": {"videos": str(corpus), "labels": "folder"},
        "clips": [{"method": "windows", "seconds": 1.0}],
        "frames": {"size": [48, 64]},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges"],
        "units": {"slot_frames": 32, "slots": 1},
        "cluster": {"kind": "local", "workers": 2, "dashboard": False},
    }
    path.write_text(yaml.safe_dump(wanted))
    return str(path)


def harm(path: str, lake: str, moment: Moment, env: dict[str, str], folder: Path) -> Done:
    """Run a recipe and do the harm when its moment comes; a run that ends before stays unharmed."""
    kind = KINDS[moment.kind]
    with contextlib.ExitStack() as stack:
        server, door, options = None, None, list[str]()
        if moment.kind == "scheduler":
            file = str(folder / "scheduler.json")
            program = running("scheduler", "--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard")
            server = stack.enter_context(program)
            wait_until(lambda: Path(file).exists(), 60)
            stack.enter_context(running("worker", "--scheduler-file", file, "--workers", "2"))
            options = ["--cluster", "address", "--set", f"cluster.scheduler_file={file}"]
        if moment.kind == "server":
            port = free_port()
            server = stack.enter_context(prefect_server(folder / f"prefect-{port}", port))
            env = {**env, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        if moment.kind == "store":
            door = stack.enter_context(metered(env["AWS_ENDPOINT_URL"]))
            env = {**env, "AWS_ENDPOINT_URL": door.url}
        verb = ["run", path, *options]
        return _harmed(verb, moment, {**env, **kind.env}, lambda run, at: kind.do(Scene(run, at, lake, server, door)))


def _harmed(
    verb: list[str], moment: Moment, env: dict[str, str], do: Callable[[subprocess.Popen[str], int], None]
) -> Done:
    mark = Path(tempfile.mkdtemp()) / "mark"
    here = mark.with_suffix(".here")
    env = {**os.environ, **env, "PATCHLAKE_FAULT": f"{moment.point}:{moment.count}:{mark}"}
    command = [sys.executable, "-m", "patchlake.flows", *verb]
    with tempfile.TemporaryFile("w+") as err:
        run = subprocess.Popen(command, stdout=err, stderr=err, text=True, start_new_session=True, env=env)
        try:
            wait_until(lambda: here.exists() or run.poll() is not None, 300)
            if here.exists():
                processes = psutil.Process(run.pid).children(recursive=True)
                do(run, int(here.read_text()))
                here.unlink()
            else:
                processes = []
            run.wait(300)
            left = alive(processes)
        finally:
            end_group(run.pid)
            shutil.rmtree(mark.parent)
        err.seek(0)
        text = err.read()
    assert not left, f"{moment}: left behind: {left}"
    return Done(run.returncode, "", text)


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


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system of its own."""
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "lake", folder], capture_output=True, text=True)
    if mount.returncode:
        clips.unavailable(f"may not mount a small disk: {mount.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def prefect_server(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a Prefect server that may be killed."""
    env = {**os.environ, "PREFECT_HOME": str(home)}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/api/health") or server.poll() is not None, 120)
        yield server
    finally:
        end_group(server.pid)
        server.wait()


def suffer(folder: Path, corpus: Path, moments: list[Moment], *, env: dict[str, str], wanted: str) -> list[int]:
    """Do harm at each moment, in runs that follow each other on one lake; the last run is whole.

    Returns the harmed runs' exit codes, and asserts that nothing is lost.
    """
    codes = []
    with contextlib.ExitStack() as stack:
        if moments[0].kind == "full disk":
            stack.enter_context(small_disk(folder))
        folder.mkdir(exist_ok=True)
        lake = f"s3://lakes/{uuid.uuid4().hex}" if moments[0].kind == "store" else str(folder / "lake")
        path = recipe(folder.with_suffix(".yaml"), corpus, lake)
        for moment in moments:
            done = harm(path, lake, moment, env, folder)
            (folder / "ballast").unlink(missing_ok=True)
            assert done.code in (0, *KINDS[moment.kind].codes), f"{moment}: {done.code}: {done.err}"
            if done.code == 1:
                assert KINDS[moment.kind].says in done.err, f"{moment}: {done.err}"
            codes.append(done.code)
        if codes[-1] != 0:
            last = run_patchlake("run", path, env=env)
            assert last.code == 0, f"{moments}: {last.err}"
        digest = run_patchlake("digest", f"{lake}/small", env=env)
        assert digest.out == wanted, f"{moments}: got {digest.out} {digest.err}, expected {wanted}"
        assert run_patchlake("verify", f"{lake}/small", env=env).code == 0, moments
        assert statuses_of(f"{lake}/small", env) == ["ok"] * NUM_CLIPS, moments
    return codes


def statuses_of(lake: str, env: dict[str, str]) -> list[str]:
    """Return the verdict of each source."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        return [row["status"] for row in Tables(Location(lake)).sources.rows()]
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """Run the campaign: so many moments of each kind, each on a lake of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    root, port = Path(tempfile.mkdtemp(prefix="faults-")), free_port()
    corpus, env = render_corpus(root / "corpus"), {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    env |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    kinds = [kind for kind in args.kinds if kind != "store" or "AWS_ENDPOINT_URL" in env]
    print("| kind | seed | moment | exit of the harmed run | after |\n|---|---|---|---|---|", flush=True)
    with prefect_server(root / "prefect", port):
        unbroken = run_patchlake("run", recipe(root / "unbroken.yaml", corpus, f"{root}/unbroken"), env=env)
        assert unbroken.code == 0, unbroken.err
        wanted = run_patchlake("digest", f"{root}/unbroken/small", env=env).out
        num_failed = 0
        for kind in kinds:
            for seed in range(args.first_seed, args.first_seed + args.each):
                moment, folder = Moment.seeded(kind, seed), root / f"{kind}-{seed}".replace(" ", "-")
                try:
                    (code,) = suffer(folder, corpus, [moment], env=env, wanted=wanted)
                    said = f"{code} | equal, clean, all {NUM_CLIPS} sources ok"
                except AssertionError as error:
                    num_failed += 1
                    said = f"? | **{' '.join(str(error).split())[:300]}**"
                print(f"| {kind} | {seed} | {moment.point} {moment.count} | {said} |", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(root)
    sys.exit(num_failed > 0)


if __name__ == "__main__":
    main()
