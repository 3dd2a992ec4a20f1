"""The decoding child: a small process that reads videos for its parent; a hang or crash costs only that video.

`child_process.Child` starts it: `python -P -m patchlake.tasks.video.child RING_FD PARENT_PID LIMITS`. Requests come on
stdin, one JSON line each; an empty line frees the oldest slot of the ring. Answers go to stdout (see `wire`); frames
are in the ring, a memfd that both processes map.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import sys
import time
from typing import Any

BEAT_SECONDS = 0.5
"""A heartbeat is sent if nothing else was for this long; a hang inside one frame sends none."""


def _guard(parent_pid: int, memory_bytes: int) -> None:
    """Die with the parent's thread; never use more memory than allowed; write no file."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent_pid:
        os._exit(3)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


if __name__ == "__main__":  # before importing anything that reads files or uses memory
    _guard(int(sys.argv[2]), json.loads(sys.argv[3])["memory_bytes"])

import av.error  # noqa: E402
import av.logging  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from patchlake.tasks.errors import DecodeError  # noqa: E402
from patchlake.tasks.storage.objects import Unreachable  # noqa: E402
from patchlake.tasks.video import (  # noqa: E402
    audio_decode,
    demux,
    packet_index,
    playback,
)
from patchlake.tasks.video.views import View  # noqa: E402
from patchlake.tasks.video.wire import BLOCK, DONE, ERROR, HEADER, PROGRESS  # noqa: E402


class Parent:
    """The two pipes to the parent, and the shared ring of slots."""

    def __init__(self, ring_fd: int, limits: dict[str, Any]) -> None:
        self._slots = limits["slots"]
        ring = mmap.mmap(ring_fd, self._slots * limits["slot_bytes"])
        self._ring: npt.NDArray[np.uint8] = np.frombuffer(ring, np.uint8).reshape(self._slots, -1)
        self._out = os.dup(1)
        os.dup2(2, 1)  # output of libraries must not mix with the answers
        self._sent = self._given_back = 0
        self._last = time.monotonic()

    def request(self) -> dict[str, Any]:
        """Wait for the next request; the process ends when the parent closes the pipe."""
        while not (line := self._line()).strip():
            self._given_back += 1
        request: dict[str, Any] = json.loads(line)
        return request

    def slot(self) -> npt.NDArray[np.uint8]:
        """Wait until the next slot of the ring is free, and return its bytes."""
        while self._sent - self._given_back >= self._slots:
            self._line()
            self._given_back += 1
        slot: npt.NDArray[np.uint8] = self._ring[self._sent % self._slots]
        return slot

    def block(self, pts: list[int], views: list[int]) -> None:
        """Send the slot last taken, with each row's PTS and view number."""
        self.send(BLOCK, np.array([pts, views], np.int64).tobytes(), slot=self._sent % self._slots)
        self._sent += 1

    def send(self, kind: int, payload: bytes = b"", slot: int = 0) -> None:
        """Write one message."""
        data = memoryview(HEADER.pack(kind, slot, len(payload)) + payload)
        while data:
            data = data[os.write(self._out, data) :]
        self._last = time.monotonic()

    def done(self, facts: dict[str, Any], *arrays: npt.NDArray[np.int64]) -> None:
        """End the answer to a request."""
        self.send(DONE, b"\n".join((json.dumps(facts).encode(), b"".join(a.tobytes() for a in arrays))))

    def beat(self) -> None:
        """Send a heartbeat if it is time."""
        if time.monotonic() - self._last > BEAT_SECONDS:
            self.send(PROGRESS)

    def _line(self) -> bytes:
        return sys.stdin.buffer.readline() or sys.exit(0)


def probe(parent: Parent, job: dict[str, Any], limits: dict[str, Any]) -> None:
    """Answer with the facts of a video from its headers, packets and first frame."""
    container, stream = demux.open_video(job["uri"], limits["max_pixels"], 1, for_index=True, beat=parent.beat)
    with container:
        facts = packet_index.header_facts(container, stream)
        caps = limits["max_frames"], limits["max_seconds"]
        index = packet_index.index_packets(container, stream, beat=parent.beat, decode_first=True, caps=caps)
        facts["cut_off"] = packet_index.is_cut_off(job["uri"], container, stream, len(index.pts))
    first = index.first
    if first is None:
        promise = f"{len(index.pts)} packets, of which none decodes" if len(index.pts) else "no packets"
        raise demux.Refused("no_frames", f"the video stream holds {promise}")
    facts |= {
        "width": first.width,
        "height": first.height,
        "pixel_format": first.format.name,
        "rotation": round(-first.rotation / 90) * 90 % 360,
        "fps": str(index.fps),
        "counted": index.counted,
        "last_duration": index.last_duration,
        "num_frames": len(index.pts),
    }
    parent.done(facts, index.pts, index.key_rows)


def decode(parent: Parent, job: dict[str, Any], limits: dict[str, Any]) -> None:
    """Send the requested frames through the ring, then a summary; a bare job discards the frames."""
    start_cpu, start = time.process_time(), time.perf_counter()
    playing = playback.Playback(job, limits, parent.beat)
    views = [View(asked, job) for asked in job["views"]]
    height, width = job["views"][0]["geometry"]["size"]
    row_bytes = height * width * 3
    rows_per_slot = max(1, min(limits["slot_bytes"] // row_bytes, limits["slot_rows"]))
    num_rows, pts_sent, views_sent, slot = 0, [0][:0], [0][:0], np.empty(0, np.uint8)
    for number, (pts, frame, times) in playing.shown(views):
        picture = views[number].picture(pts, frame)
        num_rows += times
        for _ in range(0 if job["bare"] else times):
            if not pts_sent:
                slot = parent.slot()
            at = len(pts_sent) * row_bytes
            slot[at : at + row_bytes].reshape(picture.shape)[:] = picture
            pts_sent.append(pts)
            views_sent.append(number)
            if len(pts_sent) == rows_per_slot:
                parent.block(pts_sent, views_sent)
                pts_sent, views_sent = [], []
    if pts_sent:
        parent.block(pts_sent, views_sent)
    summary = {
        "num_rows": num_rows,
        "num_decoded": playing.num_decoded,
        "num_redecoded": playing.num_redecoded,
        "cpu_seconds": time.process_time() - start_cpu,
        "wall_seconds": time.perf_counter() - start,
        "reason": playing.reason,
        "message": playing.message,
    }
    parent.done(summary)


def listen(parent: Parent, job: dict[str, Any], limits: dict[str, Any]) -> None:
    """Send the sound of a file through the ring, from its start: mono float32, with the first sample's number."""
    for rate, first, samples in audio_decode.samples_of(job["uri"], parent.beat):
        most = limits["slot_bytes"] // samples.itemsize
        for start in range(0, len(samples), most):
            part = samples[start : start + most]
            parent.slot()[: part.nbytes].view(np.float32)[:] = part
            parent.block([first + start, rate], [len(part), 0])
    parent.done({})


def main(ring_fd: int, limits: dict[str, Any]) -> None:
    """Answer requests until the parent is gone; exit if memory runs out, so that the next child starts clean."""
    av.logging.set_libav_level(av.logging.PANIC)
    parent = Parent(ring_fd, limits)
    commands = {"probe": probe, "decode": decode, "listen": listen}
    while True:
        job = parent.request()
        try:
            commands[job["command"]](parent, job, limits)
        except Unreachable as exc:
            parent.send(ERROR, json.dumps(["unreachable", exc.message]).encode())
        except (demux.Refused, DecodeError) as exc:
            parent.send(ERROR, json.dumps([exc.reason, exc.message]).encode())
        except MemoryError:
            parent.send(ERROR, json.dumps(["memory", ""]).encode())
            sys.exit(0)
        except av.error.FFmpegError as exc:
            parent.send(ERROR, json.dumps(["corrupt", f"the decoder gave up: {exc}"]).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[3]))
