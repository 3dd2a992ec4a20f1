"""Classical features as plain float64 loops, written from their channel definitions: OpenCV on whole frames at most.

rows(kind, frames, grid)    # (rows, y, x, channel); the first frame is context where the feature has any
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray

Floats = npt.NDArray[np.float64]
PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}


def texture(height: int, width: int, *, seed: int = 0, sigma: float = 2.0) -> FrameArray:
    """Return smooth colourful noise that fills 0..255."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(127 + 127 * smooth / (2.5 * smooth.std()), 0, 255).astype(np.uint8)


def moving(num_frames: int, *, size: tuple[int, int] = (72, 88), dx: int = 2, dy: int = -1) -> FrameArray:
    """Return a textured square of 48 pixels that moves (dx, dy) per frame over a textured ground at rest."""
    ground, square = texture(*size), texture(48, 48, seed=1)
    frames = np.stack([ground] * num_frames)
    for i, frame in enumerate(frames):
        y, x = 12 + dy * i, 12 + dx * i
        frame[y : y + 48, x : x + 48] = square
    return frames


def pool(maps: Floats, grid: Grid) -> Floats:
    """Return means over each cell of (frames, height, width, channel) maps, one cell after the other."""
    shape = grid.shape(maps.shape[:3])
    out = np.empty((*shape, maps.shape[3]))
    for index in np.ndindex(*shape):
        out[index] = maps[grid.cell(index)].mean(axis=(0, 1, 2))
    return out


def grey(frame: FrameArray) -> FrameArray:
    """Return BT.601 luma."""
    found = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    assert np.abs(found - frame.astype(float) @ (0.299, 0.587, 0.114)).max() < 0.51
    return found


def slopes(field: npt.NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Return d/dx and d/dy by the 3x3 Sobel operator over 8, mirrored at the border without repeating it."""
    f = np.pad(field.astype(np.float64), 1, mode="reflect")
    h, w = field.shape
    at = lambda y, x: f[1 + y : 1 + y + h, 1 + x : 1 + x + w]  # noqa: E731
    dx = sum(k * (at(y, 1) - at(y, -1)) for y, k in ((-1, 1), (0, 2), (1, 1))) / 8
    dy = sum(k * (at(1, x) - at(-1, x)) for x, k in ((-1, 1), (0, 2), (1, 1))) / 8
    return dx, dy


def edges(frames: FrameArray, grid: Grid, canny: tuple[float, float] = (100.0, 200.0)) -> Floats:
    maps = []
    for frame in frames:
        dx, dy = slopes(grey(frame))
        edge = cv2.Canny(grey(frame), *canny) / 255
        maps.append(np.stack([np.abs(dx), np.abs(dy), np.hypot(dx, dy), edge], axis=-1))
    return pool(np.stack(maps), grid)


def around(field: npt.NDArray[np.generic], mode: str) -> npt.NDArray[np.generic]:
    """Return (height, width, 3, 3): each pixel's neighbourhood; past the border mirrored, or -1."""
    padded = np.pad(field, 1, mode="reflect") if mode == "reflect" else np.pad(field, 1, constant_values=-1)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3))


def corners(frames: FrameArray, grid: Grid, k: float = 0.04, least: float = 100.0) -> Floats:
    maps = []
    for frame in frames:
        dx, dy = slopes(grey(frame))
        a, b, c = (around(product, "reflect").mean(axis=(2, 3)) for product in (dx * dx, dx * dy, dy * dy))
        tensors = np.stack([np.stack([a, b], axis=-1), np.stack([b, c], axis=-1)], axis=-1)
        smaller = np.linalg.eigvalsh(tensors)[..., 0]
        response = cv2.cornerMinEigenVal(grey(frame), 3, ksize=3) * np.float32(255**2 / 4)
        np.testing.assert_allclose(response, smaller, rtol=1e-3, atol=1e-3)
        is_corner = (response >= around(response, "least").max(axis=(2, 3))) & (response >= least)
        maps.append(np.stack([a * c - b * b - k * (a + c) ** 2, smaller, is_corner], axis=-1))
    return pool(np.stack(maps), grid)


def hog(frames: FrameArray, grid: Grid, cells: tuple[int, int] = (2, 2), orientations: int = 9) -> Floats:
    """As N. Dalal and B. Triggs say, one pixel, cell and block after the other."""
    per_frame = []
    for frame in frames:
        luma = grey(frame).astype(float)
        dx, dy = np.zeros_like(luma), np.zeros_like(luma)
        dx[:, 1:-1] = luma[:, 2:] - luma[:, :-2]
        dy[1:-1] = luma[2:] - luma[:-2]
        length, degrees = np.hypot(dx, dy), np.degrees(np.arctan2(dy, dx)) % 180
        _, rows, columns = grid.shape((grid.size[0] + grid.offset[0], *luma.shape))
        blocks = np.empty((rows, columns, cells[0] * cells[1] * orientations))
        for y, x in np.ndindex(rows, columns):
            _, ys, xs = grid.cell((0, y, x))
            block = []
            for i, j in np.ndindex(*cells):
                part = (
                    slice(ys.start + i * grid.size[1] // cells[0], ys.start + (i + 1) * grid.size[1] // cells[0]),
                    slice(xs.start + j * grid.size[2] // cells[1], xs.start + (j + 1) * grid.size[2] // cells[1]),
                )
                for b in range(orientations):
                    inside = (degrees[part] >= 180 / orientations * b) & (degrees[part] < 180 / orientations * (b + 1))
                    block.append((length[part] * inside).mean())
            v = np.array(block) / np.sqrt(np.sum(np.square(block)) + 1e-10)
            v = np.minimum(v, 0.2)
            blocks[y, x] = v / np.sqrt(np.sum(v * v) + 1e-10)
        per_frame.append(blocks)
    return np.stack([np.stack(per_frame)[a : a + grid.size[0]].mean(axis=0) for a in grid.starts(0, len(frames))])


def color(frames: FrameArray, grid: Grid, bins: int = 8, colorless: int = 32) -> Floats:
    hsv = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2HSV) for frame in frames]).astype(int)
    luma = np.stack([grey(frame) for frame in frames]).astype(int)
    shape = grid.shape((len(frames), *frames.shape[1:3]))
    out = np.empty((*shape, 7 + 2 * bins))
    for index in np.ndindex(*shape):
        cell = grid.cell(index)
        pixels = frames[cell].reshape(-1, 3).astype(float)
        hue, saturation, _ = hsv[cell].reshape(-1, 3).T
        colored = saturation >= colorless
        hues = [np.mean(colored & (2 * hue >= 360 * i / bins) & (2 * hue < 360 * (i + 1) / bins)) for i in range(bins)]
        level = luma[cell]
        lumas = [np.mean((level >= 256 * i / bins) & (level < 256 * (i + 1) / bins)) for i in range(bins)]
        out[index] = [*pixels.mean(axis=0), *pixels.std(axis=0), *hues, 1 - colored.mean(), *lumas]
    return out


def motion(frames: FrameArray, grid: Grid, least: int = 16) -> Floats:
    luma = np.stack([grey(frame) for frame in frames]).astype(float)
    d = np.diff(luma, axis=0)
    return pool(np.stack([d, np.abs(d), d * d, np.abs(d) >= least], axis=-1), grid)


def flow_maps(frames: FrameArray, preset: int) -> tuple[Floats, Floats]:
    """Return (frames - 1, height, width, 16) maps, squares for deviations, and how unsure their bins are."""
    maps, unsure = [], []
    method = cv2.DISOpticalFlow.create(preset)
    height, width = frames.shape[1:3]
    for limit in (int(np.log2(max(height, width) / 32) + 0.5), int(np.log2(min(height, width) / 8))):
        method.setFinestScale(min(method.getFinestScale(), limit))  # of small frames, as docs/features.md says
    for before, now in itertools.pairwise(frames):
        flow = method.calc(grey(before), grey(now), None).astype(np.float64)
        u, v = flow[..., 0], flow[..., 1]
        length, degrees = np.hypot(u, v), np.degrees(np.arctan2(v, u)) % 360
        (u_x, u_y), (v_x, v_y) = slopes(u), slopes(v)
        moves = length >= 0.1
        bins = [length * (moves & (degrees >= 45 * i) & (degrees < 45 * (i + 1))) for i in range(8)]
        maps.append(np.stack([u, v, length, u * u, v * v, u_x + v_y, v_x - u_y, *bins, ~moves], axis=-1))
        unsure.append(length * (np.abs((degrees + 22.5) % 45 - 22.5) < 0.5) + (np.abs(length - 0.1) < 1e-4))
    return np.stack(maps), np.stack(unsure)[..., None]


def flow(frames: FrameArray, grid: Grid, preset: str = "fast") -> Floats:
    """Pixels whose direction is that of a bin's border may lie on its other side: `flow_slack` says how many."""
    found = pool(flow_maps(frames, PRESETS[preset])[0], grid)
    for mean, square in ((0, 3), (1, 4)):
        found[..., square] = np.sqrt(np.maximum(found[..., square] - found[..., mean] ** 2, 0))
    return found


def flow_slack(frames: FrameArray, grid: Grid, preset: str = "fast") -> Floats:
    """Return (rows, y, x, 1): by how much bins may differ for the arithmetic's sake (cv2.cartToPolar: 0.3 degrees)."""
    return pool(flow_maps(frames, PRESETS[preset])[1], grid)


LOOPS: dict[str, Callable[[FrameArray, Grid], Floats]] = {
    "edges": edges, "corners": corners, "hog": hog, "color": color, "flow": flow, "motion": motion,
}  # fmt: skip


def assert_close(kind: str, found: npt.NDArray[np.generic], frames: FrameArray, grid: Grid) -> None:
    """Raise AssertionError where features are not those of the loops.

    1e-5 of a channel's largest value, since cells are summed in another order and in float32; but u_std and v_std, a
    difference of squares in float32, to 2e-3 pixels, and bins of directions but for pixels on their borders.
    """
    expected = LOOPS[kind](frames, grid)
    assert found.shape == expected.shape
    allowed = 1e-5 * np.broadcast_to(1 + np.abs(expected).max(axis=(0, 1, 2)), expected.shape)
    if kind == "flow":
        allowed = allowed.copy()
        allowed[..., 3:5] = 2e-3
        allowed[..., 7:] += flow_slack(frames, grid) + 1e-4 * (1 + expected[..., 2:3])
    off = np.abs(found - expected)
    assert (off <= allowed).all(), f"{kind}: channels {np.flatnonzero((off > allowed).any(axis=(0, 1, 2)))}"
