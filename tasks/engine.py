"""A video as lazy, labelled xarray, without a lake: `xarray.open_dataset("clip.mp4", engine="patchlake-video")`.

Opening reads packets, as probing does, and decodes one frame. Indexing decodes from the key frame before up to the last
frame asked for, in the decoding child and under its limits; groups of pictures in between that hold none are left out.
"""

from __future__ import annotations

import atexit
import contextlib
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
from patchlake.tasks.decode import Decoder, DecodeRequest
from patchlake.tasks.errors import DecodeError
from patchlake.tasks.probe import video_of
from patchlake.tasks.process import Limits
from patchlake.tasks.spans import span_of
from patchlake.tasks.tracks import fit_frame, track_of
from patchlake.tasks.types import DIMS, Fit, FrameArray, FrameIndex, Geometry, IntArray, Video
from patchlake.tasks.uris import is_s3, object_uri, split_s3, uri_of

MIN_CHUNK_ROWS = 32
"""Shorter groups of pictures share a chunk."""
WORTH_A_SEEK = 8
"""So many unwanted frames or fewer are decoded on the way; past more, the next key frame is sought."""
ERRORS: dict[str, type[Exception]] = {
    "missing": FileNotFoundError,
    "unreadable": OSError,
    "symlink_loop": OSError,
    "timeout": TimeoutError,
    "memory": MemoryError,
    "crash": RuntimeError,
}
"""What a DecodeError becomes, by its reason; ValueError with any other: then it lies in what the file holds."""


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

        size: height, width of the frame grid, filled as `fit` says (crop, letterbox, stretch), sample aspect applied;
        None: the source's own pixels, upright, not resampled. fps: None or "native" gives every frame of the stream; a
        number (25, "30000/1001") gives, for each k / fps, the frame shown then. `chunks={}` cuts at key frames.
        Raises FileNotFoundError, OSError, TimeoutError, MemoryError or RuntimeError as `ERRORS` says, else ValueError.
        """
        uri = _uri_of(filename_or_obj)
        with _plain_errors(uri), _decoder(0) as decoder:
            facts, index = decoder.probe(uri)
        source = _source_of(uri, video_of("", facts, index), index, size, fit, _rate_of(fps))
        names = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return _dataset_of(source).drop_vars(names, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether the name ends as a video's."""
        from patchlake.tasks.discover import SUFFIXES  # xarray imports engines at every first opening: stay light

        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return os.path.splitext(os.fsdecode(filename_or_obj))[1].lower() in SUFFIXES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VideoSource:
    """A video on a frame grid: all that reading any of its rows needs, without open handles."""

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

    def requests(self, rows: IntArray) -> Iterator[tuple[int, int, DecodeRequest]]:
        """Yield first row, stop row and request of each decode that ascending rows need, at least one of them."""
        at = np.searchsorted(self.index.pts, self.shown[rows])  # positions among the video's frames
        key_rows = np.concatenate([[0], self.index.key_rows])  # the file's start will do where no key frame does
        keys = key_rows[np.searchsorted(key_rows, at, side="right") - 1]
        if self.video.counted:  # frames are told apart by counting from the start
            keys[:] = 0
        cuts = np.flatnonzero(keys[1:] - at[:-1] > WORTH_A_SEEK) + 1
        for some, key in zip(np.split(rows, cuts), keys[np.concatenate([[0], cuts])].tolist(), strict=True):
            start, stop = int(some[0]), int(some[-1]) + 1
            yield start, stop, self._request(start, stop, key)

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
    """Frames of a video that are decoded when they are asked for; pickles, and may be read by many threads."""

    def __init__(self, source: VideoSource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> FrameArray:
        """Return what an outer index (ascending) selects."""
        along_time, *in_frame = key
        wanted = np.arange(self.shape[0])[along_time]
        rows = np.unique(wanted)
        out = np.empty_like(_pick(np.empty((0, *self.shape[1:]), np.uint8), in_frame), shape=None)
        picked = np.empty((len(rows), *out.shape[1:]), np.uint8)
        with _plain_errors(self.source.uri), _decoder(int(np.prod(self.shape[1:]))) as decoder:
            for request_rows, request in self._split(rows):
                self._fill(picked, in_frame, rows, request_rows, request, decoder)
        return picked[np.searchsorted(rows, wanted)]
