"""Runs that harm is done to, and what has to be true of their lake afterwards: nothing is lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clips
import psutil
import yaml
from command import Done, answers, end_group, free_port, run_patchlake, running, wait_until
from harm import CLIP_FRAMES, CLIP_NUMBERS, KINDS, NUM_CLIPS, Kind, Moment, Part, Scene, alive
from objectstore import metered

from patchlake.tasks.lake import digest
from patchlake.tasks.lake.location import Location
from patchlake.tasks.lake.tables import Tables

FRAGILE = '''
import os
import signal
import time

import numpy as np


class Fragile:
    """Mean of each frame pair; the process comes to harm at frames whose number (tests/clips.py) is in POISON."""

    version = 1
    channels = ("mean",)
    dtype = "float32"
    context_frames = (0, 0)
    needs_gpu = False

    def __init__(self, patches, frame_size):
        self.time_size, self.time_stride = 2, 2
        self.centres = ((frame_size[0] / 2,), (frame_size[1] / 2,))
        self.digest_parts, self.attrs = {}, {}
        self.poison = {int(word) for word in os.environ.get("POISON", "").split(",") if word}

    def __call__(self, frames):
        if self.poison & set(numbers_of(frames)):
            harm(os.environ["HARM"])
        mean = frames.astype(np.float32).mean(axis=(1, 2, 3))
        return mean[: len(mean) // 2 * 2].reshape(-1, 2).mean(axis=1)[:, None, None, None]


def numbers_of(frames):
    _, height, width, _ = frames.shape
    rows = frames[:, height // 16 : height * 3 // 16].mean(axis=(1, 3))
    centres = ((np.arange(12) + 0.5) * width / 12).astype(int)
    return [sum(1 << bit for bit, at in enumerate(centres) if row[at] > 127) for row in rows]


def harm(how):
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "eat":
        held = [np.ones(10_000_000) for _ in range(10_000) if not time.sleep(0.1)]  # 0.8 GB a second
    import torch

    raise torch.AcceleratorError("CUDA error: device-side assert triggered")
'''
LEARN: dict[Part, dict[str, Any]] = {
    "ingest": {},
    "reduce": {"reduce": [{"kind": "pca", "feature": "edges", "components": 4}]},
    "train": {"train": {"epochs": 2, "size": [24, 32], "window_frames": 8, "controls": False}},
}
"""What recipes say besides."""


def render_corpus(folder: Path) -> Path:
    """Render as many clips as there shall be units, no two alike, in two folders."""
    for i in range(NUM_CLIPS):
        path = folder / ("left" if i % 2 else "right") / f"{i:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        clips.render(path, num_frames=CLIP_FRAMES, size=(48, 64), gop=9, start=CLIP_NUMBERS * i)
    return folder


def recipe(path: Path, corpus: Path, lake: str, *parts: Part) -> str:
    """Write the recipe and return its path."""
    path.with_name("fragile.py").write_text(FRAGILE)
    wanted: dict[str, Any] = {
        "name": "small",
        "lake": lake,
        "corpus": {"videos": str(corpus), "labels": "folder"},
        "clips": [{"method": "windows", "seconds": 1.0}],
        "frames": {"size": [48, 64]},
        "patches": {"size": [8, 16, 16]},
        "features": ["edges", "fragile:Fragile"],
        "units": {"slot_frames": 32, "slots": 1},
        "cluster": {"kind": "local", "workers": 2, "dashboard": False},
    }
    for part in parts:
        wanted |= LEARN[part]
    path.write_text(yaml.safe_dump(wanted))
    return str(path)


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing happened to."""

    corpus: Path
    lake: Path
    digest: str

    @classmethod
    def run(cls, folder: Path, corpus: Path, env: dict[str, str]) -> Unbroken:
        """Run it, with a reduction and a training at its end."""
        done = run_patchlake("run", recipe(folder / "unbroken.yaml", corpus, f"{folder}/unbroken", *LEARN), env=env)
        assert done.code == 0, done.err
        assert f" in {NUM_CLIPS} units" in done.out
        lake = folder / "unbroken" / "small"
        return cls(corpus, lake, digest.digest(Location(str(lake))).total)

    def copy(self, folder: Path, part: Part) -> None:
        """Copy its lake without what a part of a run makes."""
        drop = shutil.ignore_patterns("report", {"reduce": "reductions", "train": "models"}[part])
        shutil.copytree(self.lake, folder, ignore=drop)


def values(lake: Location) -> dict[tuple[str, str], bytes]:
    """Hash of the values and times of each product of each clip that has rows."""
    rows = [row for row in Tables(lake).clips.rows() if row["row_stop"] > row["row_start"]]
    views = {name: digest._Product(lake, name) for name in digest.products(lake)}
    return {(row["clip_id"], name): view.clip(row) for row in rows for name, view in views.items()}


def learnt(lake: Path, part: Part) -> dict[str, str]:
    """Return what a reduction or a training left: hashes of its files, and figures but for times and places."""
    folder = lake / {"reduce": "reductions", "train": "models"}[part]
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("result.json", "checkpoint.pt")
    }
    assert len(found) >= 2, files
    if part == "train":
        found["result"] = json.dumps(_lasting(json.loads((folder / "result.json").read_text())), sort_keys=True)
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(part) for key, part in value.items() if key not in ("seconds", "model")}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def suffer(folder: Path, moments: Sequence[Moment], *, env: dict[str, str], unbroken: Unbroken) -> list[int]:
    """Do harm at moments of one kind, in one run or in runs that follow each other on one lake; the last one is whole.

    Returns the harmed runs' exit codes, and asserts that nothing is lost.
    """
    kind = KINDS[moments[0].kind]
    if len(moments) > 1 and not kind.together and 0 in kind.codes:  # a run that goes on leaves nothing to do
        return [
            code for i, m in enumerate(moments) for code in suffer(folder / str(i), [m], env=env, unbroken=unbroken)
        ]
    moments = sorted(moments, key=lambda moment: moment.order)
    codes = []
    with contextlib.ExitStack() as stack:
        if moments[0].kind == "full disk":
            stack.enter_context(small_disk(folder))
        folder.mkdir(exist_ok=True, parents=True)
        lake = f"s3://lakes/{uuid.uuid4().hex}" if kind.needs == "AWS_ENDPOINT_URL" else str(folder / "lake")
        if kind.part != "ingest":
            unbroken.copy(folder / "lake" / "small", kind.part)
        path = recipe(folder / "recipe.yaml", unbroken.corpus, lake, kind.part)
        for group in [moments] if kind.together else [[moment] for moment in moments]:
            done = harm(path, lake, group, env, folder)
            (folder / "ballast").unlink(missing_ok=True)
            assert done.code in kind.codes, f"{group}: {done.code}: {done.err}"
            assert done.code == -9 or kind.says in done.err, f"{group}: {done.err}"
            codes.append(done.code)
        if codes[-1] != 0:
            last = run_patchlake("run", path, env=env)
            assert last.code == 0, f"{moments}: {last.err}"
        with environment(env):
            check(Location(f"{lake}/small"), kind, moments, unbroken)
    return codes


def check(lake: Location, kind: Kind, moments: Sequence[Moment], unbroken: Unbroken) -> None:
    """Assert that a lake is what the unbroken run's is; where clips did the harm, but for those."""
    wrong = list(digest.verify(lake))
    assert not wrong, f"{moments}: {wrong[:3]}"
    sources = Tables(lake).sources.rows()
    assert len(sources) == NUM_CLIPS, moments
    reasons = {Path(row["uri"]).name: row["reason"] for row in sources if row["status"] != "ok"}
    if kind.do is not None:
        assert not reasons, f"{moments}: {reasons}"
        found = digest.digest(lake).total
        assert found == unbroken.digest, f"{moments}: got {found}, expected {unbroken.digest}"
    else:
        assert reasons == {moment.point: kind.reason for moment in moments}, f"{moments}: {reasons}"
        bad = {row["video_id"] for row in sources if row["status"] != "ok"}
        lost = {row["clip_id"] for row in Tables(Location(str(unbroken.lake))).clips.rows() if row["video_id"] in bad}
        wanted = {key: part for key, part in values(Location(str(unbroken.lake))).items() if key[0] not in lost}
        assert len(wanted) == 3 * (NUM_CLIPS - len(reasons)), moments
        assert values(lake) == wanted, moments
    if kind.part != "ingest":
        assert learnt(lake.path, kind.part) == learnt(unbroken.lake, kind.part), moments


def harm(path: str, lake: str, moments: Sequence[Moment], env: dict[str, str], folder: Path) -> Done:
    """Run a recipe and do the harm when its moments come; each has to come."""
    name = moments[0].kind
    kind = KINDS[name]
    with contextlib.ExitStack() as stack:
        server, door, options = None, None, [*kind.options]
        if name == "scheduler":
            file = str(folder / "scheduler.json")
            program = running("scheduler", "--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard")
            server = stack.enter_context(program)
            wait_until(lambda: Path(file).exists(), 60)
            stack.enter_context(running("worker", "--scheduler-file", file, "--workers", "2"))
            options = ["--cluster", "address", "--set", f"cluster.scheduler_file={file}"]
        if name == "server":
            port = free_port()
            server = stack.enter_context(prefect_server(folder / f"prefect-{port}", port))
            env = {**env, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        if name == "store":
            door = stack.enter_context(metered(env["AWS_ENDPOINT_URL"]))
            env = {**env, "AWS_ENDPOINT_URL": door.url}
        if kind.needs == "SLURM_CONF":
            options += ["--set", f"cluster.folder={folder}/jobs"]
            stack.callback(lambda: wait_until(lambda: not jobs_of(env), 30))
        if kind.do is None:
            env = {**env, "POISON": ",".join(str(moment.count) for moment in moments)}
        return _harmed(["run", path, *options], kind, moments, {**env, **kind.env}, (lake, server, door))


def _harmed(verb: list[str], kind: Kind, moments: Sequence[Moment], env: dict[str, str], where: Any) -> Done:
    marks = Path(tempfile.mkdtemp())
    waits = [marks / f"{i}.here" for i in range(len(moments))] if kind.do else []
    faults = [f"{moments[i].point}:{moments[i].count}:{here.with_suffix('')}" for i, here in enumerate(waits)]
    command = [sys.executable, "-m", "patchlake.flows", *verb]
    processes: set[psutil.Process] = set()

    def look() -> bool:
        for here in [here for here in waits if here.exists()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                processes.update(psutil.Process(run.pid).children(recursive=True))
            assert kind.do is not None
            kind.do(Scene(run, int(here.read_text()), where[0], env, *where[1:]))
            here.unlink()
            waits.remove(here)
        return run.poll() is not None

    with tempfile.TemporaryFile("w+") as err:
        run = subprocess.Popen(
            command, stdout=err, stderr=err, text=True, start_new_session=True,
            env={**os.environ, **env, "PATCHLAKE_FAULT": ",".join(faults)},
        )  # fmt: skip
        try:
            wait_until(look, 400)
            left = alive([*processes])
        finally:
            end_group(run.pid)
            run.wait()
            shutil.rmtree(marks)
        err.seek(0)
        text = err.read()
    assert not left, f"{moments}: left behind: {left}"
    assert not waits, f"{moments}: {len(waits)} did not come: {text}"
    return Done(run.returncode, "", text)


def jobs_of(env: dict[str, str]) -> list[str]:
    """List the jobs in Slurm's queue."""
    command = ("squeue", "-h", "-o", "%i")
    return subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True, text=True).stdout.split()


@contextlib.contextmanager
def environment(env: dict[str, str]) -> Iterator[None]:
    """Have variables for a while."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system of its own."""
    folder.mkdir(parents=True)
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
