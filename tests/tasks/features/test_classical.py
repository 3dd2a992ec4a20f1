"""Corners, gradients' histograms, colours and motion are what plain loops over their channel definitions give."""

from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import reference_features as loops
from pydantic import ValidationError
from reference_features import moving, texture
from skimage.feature import hog

from patchlake.tasks import features
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.color import ColorSpec
from patchlake.tasks.features.corners import CornersSpec
from patchlake.tasks.features.hog import HogSpec
from patchlake.tasks.features.motion import MotionSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray
from patchlake.tasks.unit import worker_setup

GRIDS = [
    Grid((4, 16, 16), (4, 16, 16)),
    Grid((3, 20, 12), (2, 9, 16), (0, 5, 3)),
    Grid((1, 8, 9), (2, 24, 24)),
]


@pytest.fixture(autouse=True, scope="module")
def _as_in_a_worker() -> None:
    worker_setup.setup()


def rows(spec: Any, grid: Grid, frames: FrameArray) -> npt.NDArray[np.float32]:
    extractor = features.build(spec, patches=grid, frame_size=(frames.shape[1], frames.shape[2]))
    found = extractor(frames)
    assert found.dtype == np.float32
    assert found.shape[1:] == (len(extractor.centres[0]), len(extractor.centres[1]), len(extractor.channels))
    return found


def named(spec: Any, grid: Grid, frames: FrameArray) -> dict[str, float]:
    """Return the channels of the first row's first cell."""
    extractor = features.build(spec, patches=grid, frame_size=(frames.shape[1], frames.shape[2]))
    return dict(zip(extractor.channels, extractor(frames)[0, 0, 0].tolist(), strict=True))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["corners", "hog", "color", "motion"])
def test_features_are_those_of_plain_loops(kind: str, grid: Grid) -> None:
    frames = moving(9, size=(72, 88))
    found = rows(features.FEATURES.entry(kind), grid, frames)
    loops.assert_close(kind, found, frames, grid)
    assert np.mean(np.ptp(found, axis=(0, 1, 2)) > 0) > 0.85, "channels tell something"


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (CornersSpec(kind="corners", k=0.06, least=400.0), {"k": 0.06, "least": 400.0}),
        (HogSpec(kind="hog", cells=(3, 1), orientations=4), {"cells": (3, 1), "orientations": 4}),
        (ColorSpec(kind="color", bins=5, colorless=90), {"bins": 5, "colorless": 90}),
        (MotionSpec(kind="motion", least=3), {"least": 3}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_options_are_those_of_plain_loops(spec: Any, options: dict[str, Any]) -> None:
    frames = moving(5, size=(72, 88))
    expected = getattr(loops, spec.kind)(frames, GRIDS[0], **options)
    np.testing.assert_allclose(rows(spec, GRIDS[0], frames), expected, atol=1e-5 * (1 + np.abs(expected).max()))


# corners


def test_a_checkerboard_has_corners_and_a_bar_has_none() -> None:
    board = np.kron(np.indices((4, 4)).sum(axis=0) % 2, np.ones((16, 16))).astype(np.uint8) * 200
    bar = np.zeros((64, 64), np.uint8)
    bar[:, 30:34] = 200
    grid = Grid((1, 32, 32), (1, 32, 32), (0, 16, 16))  # its middle: corners at 16, 32, 48 both ways
    on_board = named(CornersSpec(kind="corners"), grid, board[None, ..., None].repeat(3, axis=3))
    on_bar = named(CornersSpec(kind="corners"), grid, bar[None, ..., None].repeat(3, axis=3))
    assert on_board["harris"] > 0 > on_bar["harris"]
    assert on_board["shi_tomasi"] > 1
    assert on_bar["shi_tomasi"] == pytest.approx(0, abs=1e-3)
    assert on_bar["corners"] == 0
    assert 4 <= on_board["corners"] * 32 * 32 <= 36, "a few pixels at each of the nine corners that lie in it"


def test_the_smaller_eigenvalue_of_a_known_tensor() -> None:
    y, x = np.indices((32, 32))
    frames = (
        np.clip(5 * np.abs(x - 16) + 3 * np.abs(y - 16), 0, 255).astype(np.uint8)[None, ..., None].repeat(3, axis=3)
    )
    inside = named(CornersSpec(kind="corners"), Grid((1, 8, 8), (1, 8, 8), (0, 2, 2)), frames)
    assert inside["shi_tomasi"] == pytest.approx(0, abs=1e-3)  # one slope everywhere: dI/dx -5, dI/dy -3
    assert inside["harris"] == pytest.approx(-0.04 * (25 + 9) ** 2, rel=1e-4)


# hog


@pytest.mark.parametrize(("patch", "cells", "bins"), [(16, 2, 9), (24, 3, 9), (16, 4, 8), (12, 2, 6)])
@pytest.mark.parametrize("frames_each", [1, 3])
def test_blocks_are_those_of_scikit_image(patch: int, cells: int, bins: int, frames_each: int) -> None:
    frames = moving(7, size=(73, 90))
    cell = patch // cells
    grid = Grid((frames_each, patch, patch), (2, cell, cell))  # blocks overlap by all but one cell
    found = rows(HogSpec(kind="hog", cells=(cells, cells), orientations=bins), grid, frames)
    whole = [
        hog(loops.grey(frame), orientations=bins, pixels_per_cell=(cell, cell), cells_per_block=(cells, cells),
            block_norm="L2-Hys", feature_vector=False)
        for frame in frames
    ]  # fmt: skip
    expected = np.stack([np.mean(whole[a : a + frames_each], axis=0) for a in grid.starts(0, len(frames))])
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)


@pytest.mark.parametrize(("degrees", "bin_"), [(0, 0), (30, 1), (90, 4), (135, 6), (170, 8)])
def test_a_ramp_falls_into_the_bin_of_its_direction(degrees: float, bin_: int) -> None:
    y, x = np.indices((48, 48)) - 24
    turned = 127 + 4 * (x * np.cos(np.radians(degrees)) + y * np.sin(np.radians(degrees)))
    frames = np.clip(turned, 0, 255).astype(np.uint8)[None, ..., None].repeat(3, axis=3)
    found = named(HogSpec(kind="hog"), Grid((1, 16, 16), (1, 16, 16), (0, 16, 16)), frames)
    for cell in ("0_0", "0_1", "1_0", "1_1"):
        values = [found[f"cell_{cell}_{b}"] for b in range(9)]
        assert int(np.argmax(values)) == bin_
    assert 0 <= min(found.values()) <= max(found.values()) <= 1


def test_a_flat_patch_has_an_empty_histogram() -> None:
    assert set(
        named(HogSpec(kind="hog"), Grid((2, 16, 16), (2, 16, 16)), np.full((2, 32, 32, 3), 77, np.uint8)).values()
    ) == {0}


def test_more_cells_than_pixels_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"features\.hog\.cells: got \[2, 9\], expected at most a cell per pixel"):
        features.build(HogSpec(kind="hog", cells=(2, 9)), patches=Grid((1, 8, 8), (1, 8, 8)), frame_size=(32, 32))


# color


def test_hues_are_those_of_colours() -> None:
    grid = Grid((1, 4, 4), (1, 4, 4))
    for name, bin_ in (("red", 0), ("yellow", 1), ("green", 2), ("cyan", 4), ("blue", 5), ("magenta", 6)):
        rgb = {"red": (255, 0, 0), "yellow": (255, 255, 0), "green": (0, 255, 0), "cyan": (0, 255, 255),
               "blue": (0, 0, 255), "magenta": (255, 0, 255)}[name]  # fmt: skip
        found = named(ColorSpec(kind="color"), grid, np.full((1, 4, 4, 3), rgb, np.uint8))
        assert (found["red"], found["green"], found["blue"]) == rgb
        assert [found[f"hue_{i}"] for i in range(8)] == [float(i == bin_) for i in range(8)]
        assert found["colorless"] == found["red_std"] == found["green_std"] == found["blue_std"] == 0
    grey = named(ColorSpec(kind="color"), grid, np.full((1, 4, 4, 3), 100, np.uint8))
    assert grey["colorless"] == grey["luma_3"] == 1


def test_opencv_s_hue_is_hue() -> None:
    for rgb in np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8):
        hue, saturation, _ = cv2.cvtColor(rgb[None, None], cv2.COLOR_RGB2HSV)[0, 0]
        h, s, _ = colorsys.rgb_to_hsv(*(rgb / 255))
        assert saturation == pytest.approx(255 * s, abs=1)
        assert abs((2.0 * hue - 360 * h + 180) % 360 - 180) <= 1.5


def test_histograms_sum_to_one_and_flat_patches_have_no_deviation() -> None:
    frames = moving(4)
    found = rows(ColorSpec(kind="color"), GRIDS[0], frames)
    np.testing.assert_allclose(found[..., 6:15].sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(found[..., 15:].sum(axis=-1), 1, atol=1e-5)
    flat = np.broadcast_to(np.array([201, 7, 99], np.uint8), (4, 60, 60, 3))
    assert (
        rows(ColorSpec(kind="color"), Grid((4, 20, 20), (4, 20, 20)), np.ascontiguousarray(flat))[..., 3:6].max() < 1e-4
    )


# motion


def test_a_step_of_light_has_its_energy() -> None:
    frames = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (50, 50, 80, 70)])
    found = rows(MotionSpec(kind="motion"), Grid((1, 16, 16), (1, 16, 16)), frames)[:, 0, 0]
    np.testing.assert_array_equal(found, [[0, 0, 0, 0], [30, 30, 900, 1], [-10, 10, 100, 0]])


def test_what_stands_still_has_no_energy() -> None:
    assert not rows(MotionSpec(kind="motion"), GRIDS[0], np.stack([texture(64, 64)] * 5)).any()


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [("corners", "k", 0.3), ("corners", "least", 0), ("hog", "cells", [0, 2]), ("hog", "orientations", 1),
     ("color", "bins", 1), ("color", "colorless", 0), ("motion", "least", 256), ("motion", "leest", 3)],
)  # fmt: skip
def test_options_out_of_range_are_refused(kind: str, option: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=option):
        features.FEATURES.entry({"kind": kind, option: value})
    assert features.FEATURES.entry(kind).name == kind
