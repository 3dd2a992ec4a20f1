"""Runs that harm is done to; their lake has to be the unbroken run's afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numbered_clips as clips
import psutil
from command_line import Done, answers, end_group, free_port, run_patchlake, running, wait_until
from fault_kinds import KINDS, Moment, Scene, alive
from object_store import metered
from undisturbed_run import Unbroken, check, recipe

from patchlake.tasks.storage.location import Location


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
            check(Location(f"{lake}/small"), moments, unbroken)
    return codes


def harm(path: str, lake: str, moments: Sequence[Moment], env: dict[str, str], folder: Path) -> Done:
    """Run a recipe and do the harm when its moments come; each has to come."""
    name = moments[0].kind
    kind = KINDS[name]
    with contextlib.ExitStack() as stack:
        server, door, options = None, None, [*kind.options]
        if name == "scheduler":
            file = str(folder / "scheduler.json")
            Path(file).unlink(missing_ok=True)  # the one before was killed: nobody took it away
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
        env = {**env, **kind.env}
        verb = ["run", path, *options]
        if (do := kind.do) is None:
            return _harmed(verb, [], env, lambda run, at: None)
        return _harmed(verb, moments, env, lambda run, at: do(Scene(run, at, lake, env, server, door)))


def _harmed(
    verb: list[str],
    moments: Sequence[Moment],
    env: dict[str, str],
    do: Callable[[subprocess.Popen[str], int], None],
) -> Done:
    """Run a verb and do the harm as often as somebody waits for it."""
    marks = Path(tempfile.mkdtemp())
    faults = [f"{moment.point}:{moment.count}:{marks}/{i}" for i, moment in enumerate(moments)]
    waits = [marks / f"{i}.here" for i in range(len(moments))]
    command = [sys.executable, "-m", "patchlake.flows", *verb]
    processes: set[psutil.Process] = set()

    def look() -> bool:
        for here in [here for here in waits if here.exists()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                processes.update(psutil.Process(run.pid).children(recursive=True))
            do(run, int(here.read_text()))
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
