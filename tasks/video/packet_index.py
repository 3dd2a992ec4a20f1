"""Facts from a video's packets: its frames' times, where decoding can start, whether the file is cut off.

Used only in the decoding child.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from patchlake.tasks.storage.reading import open_uri
from patchlake.tasks.video.demux import GUESSED_FPS, Refused, decoded, packets_of


class Index(NamedTuple):
    """Result of a pass over all packets."""

    pts: npt.NDArray[np.int64]
    """PTS of each displayed frame, ascending."""
    key_rows: npt.NDArray[np.int64]
    last_duration: int
    """Duration of the frame displayed last, in PTS steps."""
    counted: bool
    fps: Fraction
    first: VideoFrame | None
    """First decodable frame, if requested."""


class _Packet(NamedTuple):
    """What a packet says about the frame that it shows."""

    pts: int | None
    is_key: bool
    duration: int


def index_packets(
    container: InputContainer,
    stream: VideoStream,
    *,
    beat: Callable[[], None],
    decode_first: bool,
    caps: tuple[int, float] | None = None,
) -> Index:
    """Read every packet; decode none, or only as many as are needed for the first frame.

    Raises Refused(too_large, ...) at the first packet past `caps`, the maximum frames and seconds of a video.
    """
    packets, first = _shown_packets(container, stream, beat=beat, decode_first=decode_first, caps=caps)
    tick = stream.time_base or Fraction(1, 1000)
    rate = stream.average_rate or stream.guessed_rate or Fraction(0)
    known = [packet.pts for packet in packets if packet.pts is not None]
    is_unordered = container.format.name == "avi" and stream.codec_context.has_b_frames  # frames' PTS are wrong
    counted = is_unordered or len(set(known)) < len(packets)
    if len(known) < len(packets):
        rate = rate or GUESSED_FPS
        packets = [packet._replace(pts=round(i / (rate * tick))) for i, packet in enumerate(packets)]
    elif not counted and first is not None and first.pts is not None:
        start = first.pts  # earlier frames can't be decoded
        packets = [packet for packet in packets if packet.pts is not None and packet.pts >= start]
    pts = np.array([packet.pts for packet in packets], np.int64)
    keys = np.array([packet.is_key for packet in packets], bool)
    order = np.argsort(pts, kind="stable")
    last = packets[order[-1]].duration if packets else 0
    fps = _fps(pts[order], last, tick, rate)
    if not last and fps:
        last = round(1 / (fps * tick))
    return Index(pts[order], np.flatnonzero(keys[order]), last, counted, fps, first)


def _shown_packets(
    container: InputContainer,
    stream: VideoStream,
    *,
    beat: Callable[[], None],
    decode_first: bool,
    caps: tuple[int, float] | None,
) -> tuple[list[_Packet], VideoFrame | None]:
    """Return the packets of displayed frames, in the file's order, and the first frame if `decode_first`."""
    first: VideoFrame | None = None
    faults: collections.Counter[str] = collections.Counter()
    found: list[_Packet] = []
    max_frames, max_ticks = (caps[0], caps[1] / (stream.time_base or Fraction(1, 1000))) if caps else (math.inf,) * 2
    low, high = math.inf, -math.inf
    is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
    for packet in packets_of(container, stream, faults):
        beat()
        hidden = is_vp8 and not memoryview(packet)[0] & 0x10  # VP8's alternate references are never shown
        if not (packet.is_discard or hidden):
            pts_shown = packet.pts
            found.append(_Packet(pts_shown, packet.is_keyframe, packet.duration or 0))
            if pts_shown is not None:
                low, high = min(low, pts_shown), max(high, pts_shown)
            if caps and (len(found) > max_frames or high - low > max_ticks):
                raise Refused(
                    "too_large", f"more than {caps[0]} frames or {caps[1]:g} s, the most that a video may have"
                )
        if decode_first and first is None:
            first = next(iter(decoded(stream, packet, faults)), None)
    if decode_first and first is None:
        first = next(iter(decoded(stream, None, faults)), None)
    return found, first


def _fps(pts: npt.NDArray[np.int64], last_duration: int, tick: Fraction, rate_from_header: Fraction) -> Fraction:
    """Return the average rate: the header's if packets agree within 1 %, else that of the packets."""
    steps = int(pts[-1] - pts[0]) if len(pts) else 0
    if not steps:
        return rate_from_header
    rate = Fraction(len(pts), steps + last_duration) if last_duration else Fraction(len(pts) - 1, steps)
    rate /= tick
    if rate_from_header and abs(rate / rate_from_header - 1) < Fraction(1, 100):
        return rate_from_header
    return rate.limit_denominator(1001)


def is_cut_off(uri: str, container: InputContainer, stream: VideoStream, num_packets: int) -> bool:
    """Return whether the container states more bytes or packets than the file holds."""
    if container.format.name.startswith("mov"):
        entries = stream.index_entries
        return len(entries) > 0 and entries[-1].pos + entries[-1].size > container.size
    if container.format.name.startswith("matroska"):
        return _segment_end(uri) > container.size
    return container.format.name == "avi" and stream.frames > num_packets


def _segment_end(uri: str) -> int:
    """Return the end of a Matroska file's segment as stated in it; 0 if it is not stated."""
    with open_uri(uri) as file:
        head = file.read(4096)
    start = head.find(b"\x18\x53\x80\x67") + 4
    if start < 4 or start >= len(head):
        return 0
    width = 9 - head[start].bit_length()
    size = int.from_bytes(head[start : start + width]) & ((1 << 7 * width) - 1)
    return 0 if size == (1 << 7 * width) - 1 else start + width + size


def header_facts(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    """Return the facts in headers; copy them before the container is closed."""
    tick = stream.time_base or Fraction(1, 1000)
    seconds = float(stream.duration * tick) if stream.duration else (container.duration or 0) / av.time_base
    shown = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    return {
        "container": container.format.name,
        "num_video_streams": len(shown),
        "codec": stream.codec_context.codec.canonical_name,
        "time_base": str(tick),
        "sample_aspect": str(stream.sample_aspect_ratio or 1),
        "num_frames_from_header": stream.frames,
        "duration_seconds_from_header": seconds,
        "has_audio": any(other.type == "audio" for other in container.streams),
    }
