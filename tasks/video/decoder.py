"""Decoding from a worker's side: requests go to a long-lived child process, frames come back through shared memory.

A video that hangs, crashes the decoder or uses too much memory costs only itself: the child is killed and replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import is_s3
from patchlake.tasks.types import FrameArray, FrameIndex, Geometry, IntArray, Reason
from patchlake.tasks.video.child_process import Child
from patchlake.tasks.video.limits import Limits
from patchlake.tasks.video.wire import BLOCK


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeRequest:
    """Which frames of a video, on which frame grid."""

    uri: str
    """Uri of a local file or an S3 object."""
    geometry: Geometry
    time_base: Fraction
    first_pts: int
    """PTS of the video's first displayed frame: grid times count from it."""
    counted: bool = False
    """See `Video.counted`; then decoding always begins at the file's start."""
    seek_pts: int | None = None
    """PTS of a key frame at or before `pts_lo`; None: start at the file's beginning."""
    pts_lo: int
    """PTS of the first frame to show; with a grid it only serves to count the frames decoded on the way."""
    pts_hi: int | None = None
    """PTS of the first frame not to show; None: until the file ends. Not used with a grid."""
    grid: tuple[int, int, int, int] | None = None
    """fps as two integers, first and stop row: row k shows the last frame at or before k / fps seconds."""
    moves: tuple[tuple[int, Geometry], ...] = ()
    """A moving box: ascending PTS, each with the geometry that is valid from then on."""
    source_size: tuple[int, int] | None = None
    """Upright height, width of the video (None: of the first frame); a frame of another size ends the decode."""

    def __post_init__(self) -> None:
        geometry, grid = self.geometry, self.grid
        (top, left), scaled, size = geometry.pad, geometry.scaled, geometry.size
        if not (self.uri.startswith("/") or is_s3(self.uri)):
            raise ValueError(f"uri must be an absolute local path or an s3:// url, got {self.uri!r}")
        if min(geometry.crop) < 0 or min(geometry.crop[2:]) < 1:
            raise ValueError(f"crop must be x, y >= 0 and width, height >= 1, got {geometry.crop}")
        if min(scaled) < 1 or min(top, left) < 0 or top + scaled[0] > size[0] or left + scaled[1] > size[1]:
            raise ValueError(f"a picture of {scaled = } at {top = }, {left = } does not fit into {size = }")
        if geometry.rotation not in (0, 90, 180, 270):
            raise ValueError(f"rotation must be 0, 90, 180 or 270, got {geometry.rotation}")
        if grid and not (grid[0] > 0 and grid[1] > 0 and 0 <= grid[2] <= grid[3]):
            raise ValueError(f"grid must be fps numerator, denominator, first and stop row, got {grid}")
        if self.seek_pts is not None and self.seek_pts > self.pts_lo:
            raise ValueError(f"seek_pts {self.seek_pts} lies after pts_lo {self.pts_lo}")


class FrameBlock(NamedTuple):
    """Consecutive frames."""

    frames: FrameArray
    """(n, height, width, 3); a view of the ring, overwritten by the next block."""
    pts: IntArray
    """(n,) PTS of the frames shown."""


class SharedBlock(NamedTuple):
    """Frames of several requests that share a decode."""

    frames: FrameArray
    pts: IntArray
    requests: IntArray
    """(n,) number of each frame's request."""


class SoundBlock(NamedTuple):
    """Consecutive samples."""

    rate: int
    """Samples per second."""
    first: int
    """Number of the first sample: the file's clock in samples."""
    samples: npt.NDArray[np.float32]
    """(n,) mean of the channels, full scale 1; a view of the ring, overwritten by the next block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Result and cost of a request."""

    num_rows: int
    num_decoded: int
    """Source frames that came out of the decoder."""
    num_redecoded: int
    """Of those, frames before `pts_lo`."""
    cpu_seconds: float
    """User and system time of the child, over all its threads."""
    wall_seconds: float
    reason: Reason | None = None
    """Why rows may be missing or damaged: truncated, corrupt, resolution_change; None: no problem."""
    message: str = ""


class Decoder:
    """A worker's handle on its decoding child, which is started on demand, kept, and replaced if it fails.

    One request at a time; other threads wait.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.summary: Summary | None = None
        """Summary of the last request for frames, once it has ended."""
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._owner: int | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return self._child.process.pid if self._child else None

    def probe(self, uri: str) -> tuple[dict[str, Any], FrameIndex]:
        """Return the facts of a video (`packet_index.header_facts` and more), and the times of its frames."""
        with self._answer({"command": "probe", "uri": uri}) as (_, (_, _, payload)):
            facts, arrays = _end(payload)
        pts, key_rows = np.split(np.frombuffer(arrays, np.int64), [facts["num_frames"]])
        return facts, FrameIndex(pts=pts, key_rows=key_rows)

    def frames(self, request: DecodeRequest) -> Iterator[FrameBlock]:
        """Yield the requested frames, in order; `summary` is set afterwards."""
        for frames, pts, _ in self.shared([request]):
            yield FrameBlock(frames, pts)

    def shared(self, requests: Sequence[DecodeRequest]) -> Iterator[SharedBlock]:
        """Yield the frames of several requests for one video, from one decode; those of each request are in order."""
        height, width = requests[0].geometry.size
        row_bytes = height * width * 3
        if row_bytes > self.limits.slot_bytes:
            room = f"{self.limits.slot_bytes} bytes of one slot"
            raise DecodeError("too_large", f"a frame grid of {height}x{width} pixels is more than the {room}")
        self.summary = None
        with self._answer(_job(requests, bare=False)) as (child, (kind, slot, payload)):
            while kind == BLOCK:
                pts, numbers = np.frombuffer(payload, np.int64).reshape(2, -1)
                rows = child.ring[slot, : len(pts) * row_bytes].reshape(len(pts), height, width, 3)
                yield SharedBlock(rows, pts, numbers)
                child.give_back()
                kind, slot, payload = child.message()
            self.summary = Summary(**_end(payload)[0])

    def bare(self, request: DecodeRequest) -> Summary:
        """Decode and scale the frames, discard them, and return how long it took."""
        with self._answer(_job([request], bare=True)) as (_, (_, _, payload)):
            return Summary(**_end(payload)[0])

    def sound(self, uri: str) -> Generator[SoundBlock]:
        """Yield the sound of a file from its start; nothing if it has none."""
        with self._answer({"command": "listen", "uri": uri}) as (child, (kind, slot, payload)):
            while kind == BLOCK:
                (first, rate), (count, _) = np.frombuffer(payload, np.int64).reshape(2, -1).tolist()
                yield SoundBlock(rate, first, child.ring[slot, : 4 * count].view(np.float32))
                child.give_back()
                kind, slot, payload = child.message()

    def close(self) -> None:
        """End the child; the next request starts a new one."""
        if self._child:
            self._child.close()
            self._child = None

    @contextlib.contextmanager
    def _answer(self, job: dict[str, Any]) -> Iterator[tuple[Child, tuple[int, int, bytes]]]:
        """Send a request and yield its answer's first message; a child whose answer is not read whole is replaced."""
        if self._owner == threading.get_ident():
            raise RuntimeError("this thread still reads frames from this decoder: exhaust or close them first")
        with self._lock:
            self._owner = threading.get_ident()
            try:
                child = self._ready()
                child.ask(job)
                try:
                    message = child.message()
                except DecodeError as exc:
                    if exc.reason != "crash" or child.num_requests == 1:
                        raise
                    self.close()  # it may have died earlier: blame the video only if a new child dies, too
                    child = self._ready()
                    child.ask(job)
                    message = child.message()
                yield child, message
            finally:
                self._owner = None
                if self._child and self._child.is_spent:
                    self.close()

    def _ready(self) -> Child:
        if self._child and self._child.process.poll() is not None:
            self.close()
        if self._child is None:
            self._child = Child(self.limits)
        return self._child


def _end(payload: bytes) -> tuple[dict[str, Any], bytes]:
    facts, _, arrays = payload.partition(b"\n")
    return json.loads(facts), arrays


def _job(requests: Sequence[DecodeRequest], *, bare: bool) -> dict[str, Any]:
    """Return the request in the child's format: what all views share, then each view."""
    first = requests[0]
    seeks = [r.seek_pts for r in requests if r.seek_pts is not None]
    return {
        "command": "decode",
        "bare": bare,
        "uri": first.uri,
        "time_base": str(first.time_base),
        "first_pts": first.first_pts,
        "counted": first.counted,
        "seek_pts": min(seeks) if len(seeks) == len(requests) else None,
        "source_size": first.source_size,
        "views": [_view(request) for request in requests],
    }


def _view(request: DecodeRequest) -> dict[str, Any]:
    return {
        "geometry": _plain(request.geometry),
        "moves": [(at, _plain(geometry)) for at, geometry in request.moves],
        "pts_lo": request.pts_lo,
        "pts_hi": request.pts_hi,
        "grid": request.grid,
    }


def _plain(geometry: Geometry) -> dict[str, Any]:
    """Return the fields; dataclasses.asdict makes deep copies, which costs a millisecond per short file."""
    return {field.name: getattr(geometry, field.name) for field in fields(geometry)}


_DECODER = Decoder()
_LISTENER = Decoder()
atexit.register(_DECODER.close)
atexit.register(_LISTENER.close)


def limit_decoder(limits: Limits) -> None:
    """Set the limits of this process's decoders; a child started with other limits is replaced."""
    for decoder in (_DECODER, _LISTENER):
        if decoder.limits != limits:
            decoder.close()
            decoder.limits = limits


def get_decoder() -> Decoder:
    """Return the decoder of this process; its child starts with the first request."""
    return _DECODER


def get_listener() -> Decoder:
    """Return this process's decoder for sound: it has a child of its own, since sound is read alongside frames."""
    return _LISTENER
