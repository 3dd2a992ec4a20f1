"""Watches a run from outside: which workers and decoding children lived, and which file each child had open how long.

watch = Watch(folder)
with watch:
    run_patchlake("run", recipe, env=watch.env)
watch.workers, watch.children, watch.seconds
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

POLL_SECONDS = 0.02


class Watch:
    """Looks at the processes of one run again and again; an environment variable tells them from others."""

    def __init__(self, folder: Path) -> None:
        mark = uuid.uuid4().hex
        self.env = {"PATCHLAKE_WATCHED": mark}
        self.workers: set[int] = set()
        """Process ids of all that had a decoding child."""
        self.children: set[int] = set()
        self.seconds: dict[str, float] = {}
        """Path -> the longest time that a child had it open without a break."""
        self._mark, self._folder = mark.encode(), f"{folder}/"
        self._others: set[int] = set()
        self._opened: dict[tuple[int, str], float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
            self._others &= pids
            opened = {}
            for pid in pids - self._others:
                with contextlib.suppress(OSError):  # it ended while being looked at
                    if pid in self.children or self._is_child(pid):
                        for path in self._files(pid):
                            opened[pid, path] = self._opened.get((pid, path), time.monotonic())
            for (_, path), since in opened.items():
                self.seconds[path] = max(self.seconds.get(path, 0.0), time.monotonic() - since)
            self._opened = opened

    def _is_child(self, pid: int) -> bool:
        place = Path(f"/proc/{pid}")
        command = (place / "cmdline").read_bytes()
        if b"python" in command and b"patchlake.tasks.video.child" not in command:
            return False  # a fork that has not become the child yet, perhaps
        if b"patchlake.tasks.video.child" not in command or self._mark not in (place / "environ").read_bytes():
            self._others.add(pid)
            return False
        self.children.add(pid)
        self.workers.add(int((place / "stat").read_text().rpartition(")")[2].split()[1]))
        return True

    def _files(self, pid: int) -> list[str]:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        return [link for link in links if link.startswith(self._folder)]
