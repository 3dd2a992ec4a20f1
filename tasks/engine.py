"""A video as lazy, labelled xarray, without a lake: `xarray.open_dataset("clip.mp4", engine="patchlake-video")`.

Opening reads packets, as probing does, and decodes one frame. Indexing decodes from the preceding key frame to the last
requested frame, in the decoding child and under its limits; groups of pictures without a requested frame are skipped.
"""

from __future__ import annotations

import atexit
import contextlib
import operator
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from patchlake.tasks import pts
from patchlake.tasks.clips.spans import span_of
from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.uris import is_s3, object_uri, split_s3, uri_of
from patchlake.tasks.tracks import fit_frame, track_of
from patchlake.tasks.types import DIMS, Fit, FrameArray, FrameIndex, Geometry, IntArray, Video
from patchlake.tasks.video.decoder import Decoder, DecodeRequest
from patchlake.tasks.video.limits import Limits
from patchlake.tasks.video.probe import video_of

MIN_CHUNK_ROWS = 32
"""Groups of pictures shorter than this share a chunk."""
WORTH_A_SEEK = 8
"""Up to this many unrequested frames are decoded on the way; for a longer gap, seek to the next key frame."""
ERRORS: dict[str, type[Exception]] = {
    "missing": FileNotFoundError,
    "unreadable": OSError,
    "symlink_loop": OSError,
    "timeout": TimeoutError,
    "memory": MemoryError,
    "crash": RuntimeError,
}
"""Reason of a DecodeError -> the exception raised; ValueError for any other reason: the file's content is at fault."""


class VideoEntrypoint(BackendEntrypoint):
    """The engine `patchlake-video`."""

    description = "Videos as lazy (time, y, x, channel) arrays, chunked at key frames"

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[Any],
        *,
        drop_variables: str | Iterable[str] | None = None,
        size: tuple[int, int] | None = None,
        fit: Fit = "crop",
        fps: float | str | None = None,
    ) -> xr.Dataset:
        """Open a path or an s3:// URL: `frames` is (time, y, x, channel), RGB bytes, with `seconds` along time.

        size: height, width of the frame grid, filled according to `fit` (crop, letterbox, stretch), sample aspect
        applied; None: the source's own pixels, upright, not resampled. fps: None or "native" gives every frame of the
        stream; a number (25, "30000/1001") gives, for each k / fps, the frame shown then. `chunks={}` cuts at key
        frames. Raises FileNotFoundError, OSError, TimeoutError, MemoryError or RuntimeError (see `ERRORS`), else
        ValueError.
        """
        uri, grid_size, rate = _uri_of(filename_or_obj), _size_of(size), _rate_of(fps)
        if fit not in ("crop", "letterbox", "stretch"):
            raise ValueError(f"fit: got {fit!r}, expected crop, letterbox or stretch")
        with _plain_errors(uri), _decoder(0) as decoder:
            facts, index = decoder.probe(uri)
        source = _source_of(uri, video_of("", facts, index), index, grid_size, fit, rate)
        names = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return _dataset_of(source).drop_vars(names, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether the name has a video suffix."""
        from patchlake.tasks.video.formats import SUFFIXES

        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return os.path.splitext(os.fsdecode(filename_or_obj))[1].lower() in SUFFIXES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VideoSource:
    """A video on a frame grid: everything needed to read its rows, without open handles."""

    uri: str
    video: Video
    index: FrameIndex
    geometry: Geometry
    fps: Fraction | None
    shown: IntArray
    """(rows,) PTS of the frame shown at each row."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """time, y, x, channel."""
        return (len(self.shown), *self.geometry.size, 3)

    def chunk_rows(self) -> tuple[int, ...]:
        """Return lengths of chunks that begin at key frames (the first one at the first row)."""
        starts = [0]
        for row in np.searchsorted(self.shown, self.index.pts[self.index.key_rows]).tolist():
            if row - starts[-1] >= MIN_CHUNK_ROWS and row < len(self.shown):
                starts.append(row)
        return tuple(np.diff([*starts, len(self.shown)]).tolist())

    def requests(self, rows: IntArray) -> Iterator[tuple[int, DecodeRequest]]:
        """Yield the decodes needed for ascending rows: the first row of each, and the request."""
        if not len(rows):
            return
        at = np.searchsorted(self.index.pts, self.shown[rows])  # positions among the video's frames
        key_rows = np.concatenate([[0], self.index.key_rows])  # before the first key frame: from the file's start
        keys = key_rows[np.searchsorted(key_rows, at, side="right") - 1]
        if self.video.counted:  # frames are identified by counting from the start
            keys[:] = 0
        cuts = np.flatnonzero(keys[1:] - at[:-1] > WORTH_A_SEEK) + 1
        for some, key in zip(np.split(rows, cuts), keys[np.concatenate([[0], cuts])].tolist(), strict=True):
            start, stop = int(some[0]), int(some[-1]) + 1
            yield start, self._request(start, stop, key)

    def _request(self, start: int, stop: int, key: int) -> DecodeRequest:
        return DecodeRequest(
            uri=self.uri,
            geometry=self.geometry,
            time_base=self.video.time_base,
            first_pts=self.video.first_pts,
            counted=self.video.counted,
            seek_pts=int(self.index.pts[key]) if key else None,
            pts_lo=int(self.shown[start]),
            pts_hi=int(self.shown[stop]) if stop < len(self.shown) else None,
            grid=None if self.fps is None else (self.fps.numerator, self.fps.denominator, start, stop),
            source_size=(self.video.height, self.video.width),
        )


class VideoArray(BackendArray):
    """Frames of a video, decoded when indexed; can be pickled and read by many threads."""

    def __init__(self, source: VideoSource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> FrameArray:
        """Return what an ascending outer index selects; raises ValueError if some of its frames can't be decoded."""
        along_time, *in_frame = key
        wanted = np.arange(self.shape[0])[along_time]
        rows = np.unique(wanted)
        nothing = np.empty((0, *self.shape[1:]), np.uint8)
        frames = np.empty((len(rows), *_pick(nothing, in_frame).shape[1:]), np.uint8)
        missing, why = np.ones(len(rows), bool), ""
        with _plain_errors(self.source.uri), _decoder(int(np.prod(self.shape[1:]))) as decoder:
            for start, request in self.source.requests(rows):
                for found, block in self._decoded(decoder, start, request):
                    here = np.isin(found, rows)
                    places = np.searchsorted(rows, found[here])
                    frames[places], missing[places] = _pick(block, in_frame)[here], False
                why = why or (decoder.summary.message if decoder.summary else "")
        if missing.any():
            some = ", ".join(map(str, rows[missing][:5])) + (", ..." if missing.sum() > 5 else "")
            why = why or "the packets list more frames than the decoder gives"
            raise ValueError(f"{self.source.uri}: no frame for row {some} of `time`: {why}; select other rows")
        selected: FrameArray = frames[np.searchsorted(rows, wanted)]
        return selected

    def _decoded(self, decoder: Decoder, start: int, request: DecodeRequest) -> Iterator[tuple[IntArray, FrameArray]]:
        """Yield rows (-1: no row) and frames; the frames are overwritten by the next iteration."""
        shown = self.source.shown
        for block in decoder.frames(request):
            if request.grid:
                rows = np.arange(start, start + len(block.pts))
                start += len(rows)
            else:
                rows = np.searchsorted(shown, block.pts)
                rows[shown[np.minimum(rows, len(shown) - 1)] != block.pts] = -1  # not among the packets
            yield rows, block.frames


def _pick(frames: FrameArray, key: list[Any]) -> FrameArray:
    """Select along y, x and channel, one axis at a time; last axis first, since an integer drops its dimension."""
    y, x, channel = key
    picked: FrameArray = frames[..., channel][:, :, x][:, y]
    return picked


def _uri_of(place: Any) -> str:
    if not isinstance(place, str | os.PathLike):
        raise TypeError(f"got {type(place).__name__}, expected the path of a video or an s3:// URL")
    text = os.fsdecode(place)
    return object_uri(*split_s3(text)) if is_s3(text) else uri_of(os.path.abspath(text))


def _size_of(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(f"size: got {size!r}, expected height and width in pixels, or None")
    return height, width


def _rate_of(fps: float | str | None) -> Fraction | None:
    if fps is None or fps == "native":
        return None
    try:
        rate = Fraction(str(fps)).limit_denominator(1_000_000)
    except ValueError:
        rate = Fraction(0)
    if rate <= 0:
        raise ValueError(
            f'fps: got {fps!r}, expected "native", or frames per second as a number or a ratio, "30000/1001"'
        )
    return rate


def _source_of(
    uri: str, video: Video, index: FrameIndex, size: tuple[int, int] | None, fit: Fit, fps: Fraction | None
) -> VideoSource:
    own = (video.height, video.width)
    geometry = fit_frame(video, size=own, fit="stretch") if size is None else fit_frame(video, size=size, fit=fit)
    stop = video.duration_seconds + 1
    span = span_of(track_of(""), video, index, start_seconds=0.0, stop_seconds=stop, fps=fps, frames={})
    return VideoSource(uri=uri, video=video, index=index, geometry=geometry, fps=fps, shown=pts.unpack(span.pts))


def _dataset_of(source: VideoSource) -> xr.Dataset:
    video, fps = source.video, source.fps
    num_rows, height, width, _ = source.shape
    times = pts.seconds_of(source.shown, video.time_base, first_pts=video.first_pts)
    coords: dict[str, Any] = {}
    if fps is not None:
        coords["pts_seconds"] = ("time", times, {"units": "s", "long_name": "time of the frame shown at `seconds`"})
        times = pts.seconds_of(np.arange(num_rows), 1 / fps)
    coords["seconds"] = ("time", times, {"units": "s", "long_name": "from the first displayed frame"})
    coords["y"], coords["x"] = np.arange(height) + 0.5, np.arange(width) + 0.5
    coords["channel"] = ["red", "green", "blue"]
    frames = xr.Variable(
        DIMS,
        indexing.LazilyIndexedArray(VideoArray(source)),
        {"units": "1", "range": [0, 255], "matrix": "the stream's, BT.601 where it does not say"},
        {"preferred_chunks": dict(zip(DIMS, (source.chunk_rows(), height, width, 3), strict=True))},
    )
    attrs = {
        "source": source.uri,
        "codec": video.codec,
        "fps": float(fps or video.fps),
        "sample_aspect": float(video.sample_aspect),
        "first_pts_seconds": video.first_pts_seconds,
    }
    dataset = xr.Dataset({"frames": frames}, coords, attrs)
    return dataset.set_xindex("seconds")


@contextlib.contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except DecodeError as exc:
        raise ERRORS.get(exc.reason, ValueError)(f"{uri}: {exc.message}") from exc


_LOCK = threading.Lock()
_DECODERS: dict[int, tuple[Decoder, threading.Lock]] = {}
"""Bytes of a slot -> a decoder, whose child is kept, and the lock that lends it to one reader at a time."""


@contextlib.contextmanager
def _decoder(frame_bytes: int) -> Iterator[Decoder]:
    """Lend this process's decoder for frames of this size, to one thread at a time."""
    default = Limits()
    large = frame_bytes > default.slot_bytes
    limits = Limits(slot_bytes=1 << (frame_bytes - 1).bit_length(), slots=2) if large else default
    with _LOCK:
        decoder, lock = _DECODERS.setdefault(limits.slot_bytes, (Decoder(limits), threading.Lock()))
    with lock:
        yield decoder


def close_decoders() -> None:
    """End this process's decoding children; a later read starts new ones, with the environment of that time."""
    for decoder, _ in _DECODERS.values():
        decoder.close()
    _DECODERS.clear()


def _forget() -> None:
    """After a fork: forget the parent's children and locks, which are not this process's own."""
    global _LOCK
    _LOCK = threading.Lock()
    _DECODERS.clear()


atexit.register(close_decoders)
os.register_at_fork(after_in_child=_forget)
