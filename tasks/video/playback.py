"""From packets to the requested frames. Runs only in the decoding child."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av.error
from av.video.frame import VideoFrame

from patchlake.tasks.video.demux import GUESSED_FPS, decoded, open_video, packets_of
from patchlake.tasks.video.packet_index import index_packets
from patchlake.tasks.video.views import Shown, View

STEPS_BACK_SECONDS = (0, 1, 4, 16)
"""How far before the requested PTS to seek, in turn, while the first frame is too late; finally, the file's start."""


class Playback:
    """Decodes one request, and counts frames and faults."""

    def __init__(self, job: dict[str, Any], limits: dict[str, Any], beat: Callable[[], None]) -> None:
        self._job, self._limits, self._beat = job, limits, beat
        self._tick = Fraction(job["time_base"])
        self._pts_lo: int = min(view["pts_lo"] for view in job["views"])
        self.num_decoded = self.num_redecoded = 0
        self.faults: collections.Counter[str] = collections.Counter()
        self.reason: str | None = None
        self.message = ""
        self._open()

    def _open(self) -> None:
        self._container, self._stream = open_video(
            self._job["uri"],
            self._limits["max_pixels"],
            self._limits["threads"],
            for_index=self._job["counted"],
            beat=self._beat,
        )

    def shown(self, views: Sequence[View]) -> Iterator[tuple[int, Shown]]:
        """Yield the frames of each view in decoding order: number of the view, then PTS, frame, and how many rows."""
        times = [view.times for view in views]
        try:
            for pts, frame in self._timed():
                self.num_redecoded += pts < self._pts_lo
                for number, one in enumerate(times):
                    if (show := one.take(pts, frame)) is not None:
                        yield number, show
                if all(one.is_done for one in times):
                    break
            else:
                rate = self._stream.average_rate or GUESSED_FPS
                frame_pts = round(1 / (rate * self._tick))
                for number, one in enumerate(times):
                    if (show := one.end(frame_pts)) is not None:
                        yield number, show
                if self.reason is None and (missing := next(filter(None, (one.missing() for one in times)), None)):
                    self._stop("truncated", missing)
        finally:
            self._container.close()
        if self.faults and self.reason is None:
            faults = ", ".join(f"{name}: {count}" for name, count in self.faults.items())
            is_cut = not self.faults.keys() - {"broken packets", "read errors"}
            self._stop("truncated" if is_cut else "corrupt", f"decoded as far as possible ({faults})")

    def _stop(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message

    def _timed(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield frames in display order with the PTS from the packets."""
        if self._job["counted"]:
            index = index_packets(self._container, self._stream, beat=self._beat, decode_first=False)
            self._reopen()
            yield from zip(index.pts.tolist(), self._decoded(), strict=False)
            return
        for frame in self._from_seek():
            if frame.pts is None:
                self.faults["frames without PTS"] += 1
            else:
                yield frame.pts, frame

    def _from_seek(self) -> Iterator[VideoFrame]:
        """Yield frames, starting with one at or before the PTS to seek to.

        Demuxers that seek by position may land past the key frame, and decoders drop what they can't decode
        yet: then the first frame is too late, and the next try starts earlier.
        """
        seek_pts = self._job["seek_pts"]
        context = self._stream.codec_context
        if seek_pts is not None and (context.name == "h264" or context.pix_fmt == "pal8"):
            self._decode_the_start()
        for step in STEPS_BACK_SECONDS if seek_pts is not None else ():
            try:
                self._container.seek(int(seek_pts - step / self._tick), stream=self._stream)
            except av.error.FFmpegError:
                break
            frames = self._decoded()
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= seek_pts:
                yield first
                yield from frames
                return
            if self.reason is not None:
                return
            self.num_redecoded = self.num_decoded
            self.faults.clear()
        if seek_pts is not None:
            self._reopen()
        yield from self._decoded()

    def _decode_the_start(self) -> None:
        """Decode the first packet before seeking away from it, without counting it.

        x264 states its build only in the first frame; without it FFmpeg decodes 4:4:4 of builds up to 150 wrongly.
        Palettes are only in the first packet.
        """
        faults: collections.Counter[str] = collections.Counter()
        for packet in packets_of(self._container, self._stream, faults):
            if packet.size:
                for _ in decoded(self._stream, packet, faults):
                    pass
                return

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def _decoded(self) -> Iterator[VideoFrame]:
        """Yield all frames from here on, in the decoder's output order."""
        expected = self._job["source_size"]
        is_turned = self._job["views"][0]["geometry"]["rotation"] in (90, 270)
        for packet in itertools.chain(packets_of(self._container, self._stream, self.faults), (None,)):
            self._beat()
            for frame in decoded(self._stream, packet, self.faults):
                self.num_decoded += 1
                size = [frame.width, frame.height] if is_turned else [frame.height, frame.width]
                expected = expected or size
                if size != expected or not self._holds_crop(size):
                    sizes = f"{expected[0]}x{expected[1]} to {size[0]}x{size[1]}"
                    self._stop("resolution_change", f"the frame size (height x width) changes from {sizes}")
                    return
                yield frame

    def _holds_crop(self, size: list[int]) -> bool:
        crops = (view["geometry"]["crop"] for view in self._job["views"])
        return all(x + width <= size[1] and y + height <= size[0] for x, y, width, height in crops)
