"""From decoded frames to the frame grid: turned, cut, scaled, as RGB bytes. Runs in the decoding child only."""

from __future__ import annotations

from typing import Any

import av.filter
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

SCALING = "bilinear+bitexact"
"""Equal bytes on every x86-64 processor, and ffmpeg's own; with accurate_rnd unscaled frames are not."""
TURNS = {90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}


class Scaler:
    """One libavfilter graph that puts frames on the frame grid, as rgb24; rebuilt when they change."""

    def __init__(self, geometry: dict[str, Any]) -> None:
        (self.height, self.width), (top, left) = geometry["size"], geometry["pad"]
        scaled_height, scaled_width = geometry["scaled"]
        self._crop: list[int] = geometry["crop"]
        self._turn = TURNS.get(geometry["rotation"], ())
        self._filters = [f"scale={scaled_width}:{scaled_height}:flags={SCALING}", "format=rgb24"]
        if (scaled_height, scaled_width) != (self.height, self.width):
            self._filters.append(f"pad={self.width}:{self.height}:{left}:{top}:black")
        self._graph: av.filter.Graph | None = None
        self._key: tuple[Any, ...] = ()

    def __call__(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return the frame's rows, a view (height, 3 * width) into the filter's own frame."""
        key = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if self._graph is None or key != self._key:
            self._graph, self._key = self._build(*key), key
        self._graph.vpush(frame)
        plane = self._graph.vpull().planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(self.height, plane.line_size)
        return rows[:, : 3 * self.width]

    def _build(self, width: int, height: int, pixels: str, space: int, levels: int) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        colors = f"pix_fmt={pixels}:colorspace={space}:range={levels}"
        nodes = [graph.add("buffer", f"video_size={width}x{height}:time_base=1/1:{colors}")]
        x, y, *size = self._crop
        is_whole = sorted(size) == sorted((width, height))
        crop = [] if is_whole else [f"crop={size[0]}:{size[1]}:{x}:{y}:exact=1"]
        for text in (*self._turn, *crop, *self._filters):
            name, _, args = text.partition("=")
            nodes.append(graph.add(name, args or None))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph
