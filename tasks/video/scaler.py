"""From decoded frames to the frame grid: alpha on black, rotate, crop, scale to RGB bytes. Only in the decoding child.

Colours: the stream's matrix and range; if not stated, BT.601 and the range that the pixel format implies.
docs/decoding.md has all policies.
"""

from __future__ import annotations

import functools
from typing import Any

import av.filter
import numpy as np
import numpy.typing as npt
from av.filter.context import FilterContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from patchlake.tasks.video.demux import Refused

SCALING = "bilinear+bitexact"
"""Gives equal bytes on every x86-64 processor, equal to ffmpeg's; with accurate_rnd unscaled frames would differ."""
TURNS = {90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}
UNSPECIFIED, RESERVED = 2, 3
MATRICES = frozenset([0, 1, UNSPECIFIED, 4, 5, 6, 7, 9])
"""Matrices of ISO/IEC 23091-2 (H.273) that swscale converts: RGB, BT.709, FCC, BT.601 (twice), SMPTE 240M, BT.2020."""


class Scaler:
    """Maps frames to the frame grid, as rgb24."""

    def __init__(self, geometry: dict[str, Any]) -> None:
        (self.height, self.width), (top, left) = geometry["size"], geometry["pad"]
        scaled_height, scaled_width = geometry["scaled"]
        filters = [f"scale={scaled_width}:{scaled_height}:flags={SCALING}", "format=rgb24"]
        if (scaled_height, scaled_width) != (self.height, self.width):
            filters.append(f"pad={self.width}:{self.height}:{left}:{top}:black")
        self._to_grid = Chain(filters, turns=TURNS.get(geometry["rotation"], ()), crop=geometry["crop"])
        self._to_rgba = Chain([f"scale=flags={SCALING}", "format=rgba"])

    def move(self, x: int, y: int) -> None:
        """Move the crop, keeping its size."""
        self._to_grid.move(x, y)

    def __call__(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return the frame's rows, a view (height, 3 * width) into the filter's own frame."""
        if has_alpha(frame):
            frame = on_black(self._to_rgba(frame))
        plane = self._to_grid(frame).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(self.height, plane.line_size)
        return rows[:, : 3 * self.width]


class Chain:
    """One libavfilter graph: rotate, crop, filter; rebuilt if the frames' format changes."""

    def __init__(self, filters: list[str], *, turns: tuple[str, ...] = (), crop: list[int] | None = None) -> None:
        self._filters, self._turns, self._crop = filters, turns, crop
        self._graph: av.filter.Graph | None = None
        self._cutter: FilterContext | None = None
        self._key: tuple[Any, ...] = ()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return the filtered frame."""
        if int(frame.colorspace) == RESERVED:
            frame.colorspace = UNSPECIFIED
        key = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if self._graph is None or key != self._key:
            self._graph, self._key = self._build(*key), key
        self._graph.vpush(frame)
        return self._graph.vpull()

    def move(self, x: int, y: int) -> None:
        """Move the crop by a command to the filter, since a new graph costs a millisecond."""
        assert self._crop is not None
        self._crop = [x, y, *self._crop[2:]]
        if self._cutter is not None:
            for name, value in (("x", x), ("y", y)):
                self._cutter.process_command(name, str(value))

    def _build(self, width: int, height: int, pixels: str, space: int, levels: int) -> av.filter.Graph:
        if space not in MATRICES:
            raise Refused("unsupported_codec", f"FFmpeg does not convert colour matrix {space} (H.273) to RGB")
        graph = av.filter.Graph()
        graph.threads = 1
        colors = f"pix_fmt={pixels}:colorspace={space}:range={levels}"
        nodes = [graph.add("buffer", f"video_size={width}x{height}:time_base=1/1:{colors}")]
        for text in (*self._turns, *self._cut(width, height), *self._filters):
            name, _, args = text.partition("=")
            nodes.append(graph.add(name, args or None))
            if name == "crop":
                self._cutter = nodes[-1]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph

    def _cut(self, width: int, height: int) -> tuple[str, ...]:
        if self._crop is None or sorted(self._crop[2:]) == sorted((width, height)):
            return ()
        x, y, *size = self._crop
        return (f"crop={size[0]}:{size[1]}:{x}:{y}:exact=1",)


def has_alpha(frame: VideoFrame) -> bool:
    """Return whether pixels may be transparent, by the format; for a palette by its entries."""
    name = frame.format.name
    if name == "pal8":  # blue, green, red, alpha
        return bool(np.frombuffer(memoryview(frame.planes[1]), np.uint8)[3::4].min() < 255)
    return _format_has_alpha(name)


@functools.cache
def _format_has_alpha(pixel_format: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(pixel_format, 16, 16).components)


def on_black(frame: VideoFrame) -> VideoFrame:
    """Return an rgba frame as rgb24 over black: colour times alpha / 255, rounded, so opaque pixels are unchanged.

    libavfilter's `premultiply` rounds down: opaque white would become 254.
    """
    rgba = frame.to_ndarray()
    product = np.multiply(rgba[..., :3], rgba[..., 3:], dtype=np.uint16) + np.uint16(128)
    product += product >> np.uint16(8)  # with the shift below: x / 255, rounded, for all x up to 255 * 255
    return VideoFrame.from_ndarray((product >> np.uint16(8)).astype(np.uint8), format="rgb24")
