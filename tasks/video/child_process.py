"""The decoding child from its parent's side: starts it, sends requests, watches it, and kills it if it hangs."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.video.limits import Limits
from patchlake.tasks.video.wire import DONE, ERROR, HEADER, PROGRESS

_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patchlake-fork")
"""Children die with the *thread* that forked them (PR_SET_PDEATHSIG); this thread lives as long as the process."""


def _after_fork() -> None:
    """A forked process, e.g. a DataLoader's, has only one thread, so it needs a new forker."""
    global _FORKER
    _FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patchlake-fork")


os.register_at_fork(after_in_child=_after_fork)
_STDERR_BYTES = 2048
_MEMORY_WORDS = ("memory", "bad_alloc", "failed to map")


_LATE_SECONDS = 1.0
"""A wait that comes back so much later than asked was no wait: this process was stopped."""


class _Clock:
    """How long a child has been silent, as far as this process was awake to hear it.

    Ctrl-Z, Slurm's suspend and `docker pause` stop both. A watcher that slept starts anew: the child
    most likely slept too, and gets its whole time again.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.seconds = 0.0
        """Silence heard so far."""
        self._at = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return max(0.0, self.limit - self.seconds)

    def note(self, asked: float) -> None:
        """Take note of a wait that was to last `asked` seconds at most."""
        now = time.monotonic()
        slept = now - self._at > asked + _LATE_SECONDS
        self.seconds = 0.0 if slept else self.seconds + now - self._at
        self._at = now


class Child:
    """One decoding process, its pipes, and the ring that both map."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.num_requests = 0
        self.busy = False
        """Whether the answer to a request has not ended yet."""
        size = limits.slots * limits.slot_bytes
        fd = os.memfd_create("patchlake-ring")
        try:
            os.ftruncate(fd, size)
            self.ring = np.frombuffer(mmap.mmap(fd, size), np.uint8).reshape(limits.slots, limits.slot_bytes)
            self.process = _FORKER.submit(self._start, fd).result()
        finally:
            os.close(fd)
        pipes = self.process.stdin, self.process.stdout, self.process.stderr
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in pipes if pipe)
        self._poll = select.poll()
        for fd in (self._stdout, self._stderr):
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        self._inbox = bytearray()
        self._said = b""
        self._seconds_left = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether the next request needs a new child."""
        return self.busy or self.num_requests >= self.limits.videos_per_child

    def _start(self, ring_fd: int) -> subprocess.Popen[bytes]:
        caps = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        arguments = [str(ring_fd), str(os.getpid()), json.dumps(asdict(self.limits))]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "patchlake.tasks.video.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(ring_fd,),
            env=os.environ | caps,
            bufsize=0,
        )

    def ask(self, job: dict[str, Any]) -> None:
        """Send a request."""
        self.busy = True
        self.num_requests += 1
        self._seconds_left = self.limits.wall_seconds
        self._write(json.dumps(job).encode() + b"\n")

    def give_back(self) -> None:
        """Free the oldest slot of the ring."""
        self._write(b"\n")

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next message() raises the cause
            while data:
                data = data[os.write(self._stdin, data) :]

    def message(self) -> tuple[int, int, bytes]:
        """Wait for a block or the end; return kind, slot, payload. Raises the error with which the child answers."""
        kind, slot, payload = self._receive()
        while kind == PROGRESS:
            kind, slot, payload = self._receive()
        if kind == ERROR:
            reason, text = json.loads(payload)
            if reason == "memory":
                raise self._out_of_memory()
            self.busy = False
            raise Unreachable(text) if reason == "unreachable" else DecodeError(reason, text)
        self.busy = kind != DONE
        return kind, slot, payload

    def _receive(self) -> tuple[int, int, bytes]:
        clock = _Clock(min(self.limits.stall_seconds, self._seconds_left))
        while True:
            if len(self._inbox) >= HEADER.size:
                kind, slot, num_bytes = HEADER.unpack_from(self._inbox)
                end = HEADER.size + num_bytes
                if len(self._inbox) >= end:
                    payload = bytes(self._inbox[HEADER.size : end])
                    del self._inbox[:end]
                    self._seconds_left -= clock.seconds
                    return kind, slot, payload
            asked = min(clock.left, _LATE_SECONDS)
            for fd, _ in self._poll.poll(asked * 1000):
                self._read(fd)
            clock.note(asked)
            if not clock.left:
                limit = "gave no sign of life" if clock.limit == self.limits.stall_seconds else "did not end"
                raise DecodeError("timeout", f"the decoder {limit} for {clock.limit:.3g} s and was stopped")

    def _read(self, fd: int) -> None:
        data = os.read(fd, 1 << 20)
        if fd == self._stderr:
            self._said = (self._said + data)[-_STDERR_BYTES:]
            if not data:
                self._poll.unregister(fd)
        elif data:
            self._inbox += data
        else:
            raise self._death()

    def _death(self) -> DecodeError:
        code = self.process.wait(10)
        with contextlib.suppress(BlockingIOError):
            self._said = (self._said + os.read(self._stderr, 1 << 20))[-_STDERR_BYTES:]
        said = self._said.decode(errors="replace").strip().rpartition("\n")[2]
        if any(word in said.lower() for word in _MEMORY_WORDS):
            return self._out_of_memory()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return DecodeError("crash", f"the decoder ended {how}" + (f": {said}" if said else ""))

    def _out_of_memory(self) -> DecodeError:
        cap = f"{self.limits.memory_bytes / 2**30:.3g} GiB of address space"
        return DecodeError("memory", f"decoding takes more than the cap of {cap}")

    def close(self) -> None:
        """Kill the process and close the pipes; the ring is freed with its last view."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
