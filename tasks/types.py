"""The core types of patchlake, in the order of a video's life: source, video, track, clip, span, slot, unit, receipt.

All are frozen, small and picklable, without open handles. Times are seconds from the first displayed frame
(`*_seconds`) or integers in the stream's time base (`*_pts`); rows count along a product's time axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

DIMS = ("time", "y", "x", "channel")
"""Dimension names of every product array, in order."""

PIXELS = "pixels"
"""Name of the product that stores the frames themselves."""

Status = Literal["ok", "partial", "rejected", "skipped", "duplicate", "failed"]
Reason = Literal[
    "empty", "not_video", "no_video_stream", "no_frames", "unreadable", "truncated", "corrupt", "too_large",
    "too_short", "resolution_change", "unsupported_codec", "symlink_loop", "outside_root", "missing", "timeout",
    "memory", "crash", "count_grew",
]  # fmt: skip
Fit = Literal["crop", "letterbox", "stretch"]
Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height in upright source pixels, before sample aspect."""
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
FrameArray = npt.NDArray[np.uint8]
"""Frames as (time, y, x, channel), RGB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """What a user says about a part of a source: when, where, what."""

    start_seconds: float | None = None
    """From the first displayed frame; None: the beginning."""
    stop_seconds: float | None = None
    """None: the end."""
    box: Box | None = None
    """None: the whole frame."""
    label: str | None = None
    targets: tuple[tuple[str, float], ...] = ()
    """Regression targets, by name."""
    start_frame: int | None = None  # in place of seconds: from 0, the first displayed frame
    stop_frame: int | None = None  # the first frame past the range
    attributes: tuple[tuple[str, str], ...] = ()
    """Other columns of the row, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxPath:
    """A box of a video over time, as a user gives it."""

    name: str
    """Tells the paths of one video apart."""
    seconds: tuple[float, ...] = ()
    """(n,) ascending, from the first displayed frame; empty: one fixed box for the whole video."""
    boxes: tuple[Box, ...]
    """(n,) boxes at these times, or the single fixed box."""
    label: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One discovered file or object; several may hold the same video."""

    uri: str
    """An absolute path with bytes outside printable ASCII percent-encoded, or an s3:// URL."""
    size: int
    """Bytes."""
    version: str
    """Modification time in ns, or an object's etag; with uri and size it shows whether content may have changed."""
    label: str | None = None
    split: str | None = None
    """train | test, given by the user; None: decided by the hash of the group."""
    group: str | None = None
    """Sources of one group are in the same part of the split; None: the video is its own group."""
    annotations: tuple[Annotation, ...] = ()
    """What a manifest says about its parts, in the manifest's order; empty: the whole source, with `label`."""
    status: Status = "ok"
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """Content, identified by its hash, with facts from the container's packets (only the first frame is decoded)."""

    video_id: str
    """First 32 hex digits of the SHA-256 of the file's bytes."""
    container: str
    """FFmpeg's name of the format, e.g. `matroska,webm`."""
    codec: str
    pixel_format: str
    width: int
    """Upright (after rotation) source pixels."""
    height: int
    rotation: int
    """Clockwise degrees by which decoded frames are rotated to be upright: 0, 90, 180, 270."""
    sample_aspect: Fraction
    """Width of a source pixel over its height, upright; 1 if the file does not say."""
    fps: Fraction
    """Average frames per second; 0 if unknown."""
    time_base: Fraction
    """Seconds of one PTS step."""
    num_frames: int
    """Displayed frames according to the packets."""
    num_frames_from_header: int
    first_pts: int
    duration_seconds: float
    """From the first displayed frame to the end of the last one, from packets."""
    duration_seconds_from_header: float
    variable_rate: bool
    """Whether the frames' PTS do not match any constant rate, rounded to the time base."""
    counted: bool
    """Whether frames must be identified by counting from the file's start, since their PTS are unreliable."""
    num_video_streams: int
    """Not counting cover pictures; the stream that ffmpeg would pick is read."""
    has_audio: bool

    @property
    def first_pts_seconds(self) -> float:
        """PTS of the first displayed frame, in seconds; `seconds` counts from here."""
        return float(self.first_pts * self.time_base)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameIndex:
    """Times of a video's displayed frames, and where decoding can start."""

    pts: IntArray
    """(num_frames,) ascending PTS in the stream's time base."""
    key_rows: IntArray
    """(num_keys,) ascending positions in `pts` of key frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """How a decoded frame becomes a frame of the frame grid: rotate, crop, scale, pad."""

    rotation: int
    crop: tuple[int, int, int, int]
    """x, y, width, height in upright source pixels."""
    scaled: tuple[int, int]
    """height, width after scaling."""
    pad: tuple[int, int]
    """top, left rows and columns of black around the scaled picture."""
    size: tuple[int, int]
    """height, width of the frame grid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameGrid:
    """Common size, fit and rate of the frames of all tracks."""

    size: tuple[int, int]
    """height, width in pixels."""
    fit: Fit
    fps: Fraction | None
    """Frames per second; None: each stream's own frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """Where: a video seen through one box, which may move; None: the whole frame."""

    track_id: str
    video_id: str
    boxes: BoxPath | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """When: a time range [start, stop) of a track."""

    clip_id: str
    track_id: str
    video_id: str
    start_seconds: float
    stop_seconds: float
    label: str | None = None
    targets: tuple[tuple[str, float], ...] = ()
    """Regression targets, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The union of touching clips of a track, stored once as contiguous rows."""

    span_key: str
    track_id: str
    video_id: str
    start_seconds: float
    stop_seconds: float
    num_rows: int
    """Rows of the frame grid according to the packets; decoding may give fewer."""
    first_grid_row: int
    """Native rate: position of the first row among the video's frames; numeric rate: k of its first time k / fps."""
    pts: bytes
    """PTS of the frame shown at each row (`pts.pack`)."""
    key_pts: bytes
    """PTS of the key frames at which decoding of some row can start (`pts.pack`)."""
    stop_pts: int | None
    """PTS of the first frame past the span; None: the span ends with the video, even if that has more frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a span lies on the pixel time axis, fixed before any work."""

    span: Span
    track: int
    """The track's number in the dataset, as in the `track` coordinate."""
    row_start: int

    @property
    def row_stop(self) -> int:
        """First pixel row past the span's planned rows."""
        return self.row_start + self.span.num_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameSource:
    """What a worker needs to know about a video to map its frames to the frame grid."""

    video_id: str
    uri: str
    width: int
    """Upright source pixels."""
    height: int
    rotation: int
    """See `Video`."""
    sample_aspect: Fraction
    time_base: Fraction
    first_pts: int
    counted: bool
    hidden: tuple[tuple[str, BoxPath], ...] = ()
    """Boxes to hide, each with the boxes file (named in a filter, e.g. `blur`) that it comes from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """The part of a placed span that lies in one slot."""

    span_key: str
    video_id: str
    start: int
    """First row, counted in the span."""
    stop: int
    span_rows: int
    """Rows of the whole span."""
    row_start: int
    """First pixel row of the dataset."""

    @property
    def num_rows(self) -> int:
        """Planned pixel rows."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRange:
    """The frames that a unit reads of one span, including context."""

    span_key: str
    boxes: BoxPath | None
    """Boxes of the span's track."""
    start: int
    """First row, counted in the span."""
    first_grid_row: int
    """See `Span`; here for the row `start`."""
    stop: int
    """First row past the range."""
    pts: bytes
    """PTS shown at rows start, ..., stop - 1 (`pts.pack`)."""
    stop_pts: int | None
    """PTS of the frame at row `stop`, or past the span; None: the range ends with the video."""
    key_pts: tuple[int, ...]
    """Ascending PTS of key frames: the last one up to the range's first frame, and those in the context before pieces.

    How much context is read depends on the products; decoding starts at the last of these up to what is read.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class PoisonPiece:
    """A piece that kills every worker that computes it: its rows stay padding."""

    span_key: str
    row_start: int
    """See `Piece`."""
    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Slots that are written by one Dask task and by no other."""

    slots: tuple[int, ...]
    """Neighbouring slots in order; for a video with several tracks, slots of the same time next to each other."""
    pieces: tuple[tuple[Piece, ...], ...]
    """Per slot, in row order."""
    decodes: tuple[tuple[ReadRange, ...], ...]
    """One range per span, in the order in which pieces need them; tracks of one video and time share one decode."""
    sources: tuple[FrameSource, ...]
    """The videos of `pieces`."""
    products: tuple[str, ...]
    """Names of the products to write; each is missing in every slot of the unit."""
    poison_pieces: tuple[PoisonPiece, ...] = ()
    """Pieces to leave out."""

    @property
    def unit_id(self) -> str:
        """Identifier that sorts like the slots."""
        return f"{self.slots[0]:09d}-{self.slots[-1]:09d}"

    @property
    def read_ranges(self) -> tuple[ReadRange, ...]:
        """All read ranges, in order."""
        return tuple(read_range for read_ranges in self.decodes for read_range in read_ranges)

    @property
    def num_rows(self) -> int:
        """Planned pixel rows."""
        return sum(piece.num_rows for slot in self.pieces for piece in slot)


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceReceipt:
    """What was written of one piece for one product."""

    span_key: str
    slot: int
    row_start: int
    """First row of the product's time axis."""
    num_rows: int
    checksum: int
    """xxh3-64 of the rows' bytes, C order, as stored in the array."""
    ticks: bytes
    """Centre time of each row from the first displayed frame (`pts.pack`); empty for pixels, see `PieceFrames`.

    In half steps of the stream's time base, or of 1 / fps if the frame grid has a numeric rate: integers, so that
    seconds are rounded only once.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """States that one product of one unit is on disk; committing this record is what makes its rows exist."""

    unit_id: str
    product: str
    product_digest: str
    """Hash of the product's entry, grid, model digest and VERSION; with a span_key it is the product key."""
    slots: tuple[int, ...]
    pieces: tuple[PieceReceipt, ...]
    num_bytes: int
    """Bytes of the shards on disk."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent: decode (waiting for frames), compute, write; wait, added by the coordinator (docs/observing.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceFrames:
    """What decoding gave for one piece: the shown frames' PTS, or why there are none."""

    span_key: str
    row_start: int
    """First pixel row of the dataset."""
    num_rows: int
    """Frames written."""
    ticks: bytes
    """Time of each row; see `PieceReceipt`."""
    pts: bytes
    """PTS of the frames shown if the frame grid has a numeric rate (`pts.pack`); else empty: see `ticks`."""
    reason: Reason | None = None
    message: str = ""
    surplus: bytes = b""
    """PTS of decoded frames that the packets had not listed and for which there was no room (`pts.pack`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitResult:
    """Everything sent over the network when a unit is done."""

    unit_id: str
    receipts: tuple[Receipt, ...]
    frames: tuple[PieceFrames, ...]
    num_decoded: int
    """Source frames that the decoder produced, including those before the first one needed."""
    num_redecoded: int
    """Of those, frames decoded only to reach the first one needed."""
    seconds: float
