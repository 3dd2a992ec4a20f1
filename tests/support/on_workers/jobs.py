"""Functions that the tests send to workers."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil


def double(x: int) -> int:
    return 2 * x


def double_slowly(x: int) -> int:
    time.sleep(0.1)
    return 2 * x


def reciprocal(x: int) -> float:
    return 1 / x


class Unpicklable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.handle = (i for i in range(2))


def raise_unpicklable(x: int) -> None:
    raise Unpicklable(x, x)


def leave(x: int) -> None:
    raise SystemExit(x)


def die_if_poisoned(x: int, poison: int) -> int:
    time.sleep(0.02)
    if x == poison:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * x


def die_once(x: int, victim: int, folder: str) -> int:
    time.sleep(0.05)
    if x == victim and _first(Path(folder) / "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * x


def lose_gpu_once(x: int, victim: int, folder: str) -> int:
    import torch

    time.sleep(0.05)
    if x == victim and _first(Path(folder) / "lost"):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    return 2 * x


def note_and_double(x: int, folder: str) -> int:
    (Path(folder) / f"begun-{x}").touch()
    time.sleep(0.3)
    return 2 * x


def pid() -> int:
    return os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def environment_of(_: int) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def note_setup(folder: str) -> None:
    (Path(folder) / f"setup-{os.getpid()}").touch()


def setup_done(folder: str) -> bool:
    return (Path(folder) / f"setup-{os.getpid()}").exists()


def double_after_setup(x: int, folder: str) -> int:
    """Fail on a worker whose setup has not run."""
    assert setup_done(folder)
    return double_slowly(x)


def fail_setup() -> None:
    raise ValueError("no such model")


def fail_setup_when_told(folder: str) -> None:
    if (Path(folder) / "fail").exists():
        raise ValueError("the model went away")


def sleep_long(_: int) -> None:
    time.sleep(600)


def sleep_and_return(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _first(marker: Path) -> bool:
    """True for the first caller only."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def note_device(x: int, folder: str) -> int:
    """Hold the worker's GPU for a while and note when."""
    began = time.time()
    time.sleep(0.15)
    names = (os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"])
    (Path(folder) / f"span-{x}-{os.getpid()}").write_text(" ".join([*names, str(began), str(time.time())]))
    return x


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def note_begin_and_sleep(x: int, folder: str, seconds: float) -> int:
    """Add a line to the item's notes, then take a while."""
    with (Path(folder) / f"item-{x}").open("a") as notes:
        notes.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return x


def begin_and_end(_: int) -> tuple[float, float]:
    """Return when this began and ended, by the worker's own clock."""
    begun = time.monotonic()
    time.sleep(0.02)
    return begun, time.monotonic()


def ports_of(pid: int) -> set[tuple[str, int]]:
    """List where a process and those below it listen."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    found = [c for each in family for c in each.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    return {(c.laddr.ip, c.laddr.port) for c in found}


def die_if_first(marker: str) -> int:
    if _first(Path(marker)):
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def failing_python(folder: Path) -> tuple[str, Path]:
    """Return a Python that fails once after its marker is made, and the marker."""
    program, marker = folder / "python", folder / "fail"
    program.write_text(f'#!/bin/sh\nrm {marker} 2>/dev/null && exit 1\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program), marker
