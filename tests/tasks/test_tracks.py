"""Geometry by hand: what is cut, scaled and padded, and where a frame-grid pixel lies in the source."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import a_video

from patchlake.tasks.keys import track_id
from patchlake.tasks.tracks import box_at, fit_frame, geometry_at, is_inside, to_source, track_of
from patchlake.tasks.types import BoxPath, Fit, Geometry, Video

quick = settings(max_examples=300, deadline=None)
SIDES = st.integers(1, 700)
ASPECTS = st.sampled_from([Fraction(1), Fraction(16, 15), Fraction(40, 33), Fraction(8, 9), Fraction(4, 3)])
VIDEOS = st.builds(lambda w, h, a: a_video(width=w, height=h, sample_aspect=a), SIDES, SIDES, ASPECTS)
FITS: tuple[Fit, ...] = ("crop", "letterbox", "stretch")


def at(geometry: Geometry, y: float, x: float) -> tuple[float, float]:
    """Return the source y, x of a point of the frame grid."""
    a, b, c, d, e, f = to_source(geometry)
    return d * x + e * y + f, a * x + b * y + c


BY_HAND: list[tuple[tuple[int, int], str, tuple[int, int], Fit, tuple[int, ...], tuple[int, int], tuple[int, int]]] = [
    # source h, w   aspect   grid h, w    fit          crop x, y, w, h      scaled h, w  pad top, left
    ((240, 320), "1", (240, 320), "crop", (0, 0, 320, 240), (240, 320), (0, 0)),
    ((240, 320), "1", (120, 160), "crop", (0, 0, 320, 240), (120, 160), (0, 0)),
    ((240, 320), "1", (224, 224), "crop", (40, 0, 240, 240), (224, 224), (0, 0)),
    ((720, 1280), "1", (224, 224), "crop", (280, 0, 720, 720), (224, 224), (0, 0)),
    ((320, 240), "1", (224, 224), "crop", (0, 40, 240, 240), (224, 224), (0, 0)),
    ((241, 321), "1", (64, 64), "crop", (40, 0, 240, 241), (64, 64), (0, 0)),
    ((480, 720), "8/9", (240, 320), "crop", (0, 0, 720, 480), (240, 320), (0, 0)),
    ((576, 720), "16/15", (100, 100), "crop", (90, 0, 540, 576), (100, 100), (0, 0)),
    ((240, 320), "1", (224, 224), "letterbox", (0, 0, 320, 240), (168, 224), (28, 0)),
    ((320, 240), "1", (224, 224), "letterbox", (0, 0, 240, 320), (224, 168), (0, 28)),
    ((480, 720), "8/9", (200, 200), "letterbox", (0, 0, 720, 480), (150, 200), (25, 0)),
    ((241, 321), "1", (64, 64), "letterbox", (0, 0, 321, 241), (48, 64), (8, 0)),
    ((240, 320), "1", (50, 70), "stretch", (0, 0, 320, 240), (50, 70), (0, 0)),
    ((1, 1), "1", (4, 8), "crop", (0, 0, 1, 1), (4, 8), (0, 0)),
    ((1, 1000), "1", (8, 8), "letterbox", (0, 0, 1000, 1), (1, 8), (3, 0)),
]


@pytest.mark.parametrize(("source", "aspect", "size", "fit", "crop", "scaled", "pad"), BY_HAND)
def test_geometry_by_hand(
    source: tuple[int, int], aspect: str, size: tuple[int, int], fit: Fit, crop: tuple[int, ...],
    scaled: tuple[int, int], pad: tuple[int, int],
) -> None:  # fmt: skip
    video = a_video(height=source[0], width=source[1], sample_aspect=Fraction(aspect), rotation=90)
    found = fit_frame(video, size=size, fit=fit)
    assert (found.crop, found.scaled, found.pad, found.size, found.rotation) == (crop, scaled, pad, size, 90)


@quick
@given(video=VIDEOS, size=st.tuples(SIDES, SIDES), fit=st.sampled_from(FITS))
def test_crops_lie_inside_on_even_pixels_and_pictures_on_the_grid(
    video: Video, size: tuple[int, int], fit: Fit
) -> None:
    found = fit_frame(video, size=size, fit=fit)
    x, y, w, h = found.crop
    for start, length, extent in ((x, w, video.width), (y, h, video.height)):
        assert 0 <= start < start + length <= extent
        assert start % 2 == 0
        assert (start + length) % 2 == 0 or start + length == extent
    for pad, scaled, extent in zip(found.pad, found.scaled, size, strict=True):
        assert 0 <= pad <= pad + scaled <= extent
        assert scaled >= 1
        assert abs(pad - (extent - scaled - pad)) <= 1, "not in the middle"
    if fit != "crop":
        assert found.crop == (0, 0, video.width, video.height)
    if fit != "letterbox":
        assert (found.scaled, found.pad) == (size, (0, 0))


@quick
@given(video=VIDEOS, size=st.tuples(st.integers(16, 400), st.integers(16, 400)))
def test_crop_and_letterbox_keep_the_shape_to_within_rounding(video: Video, size: tuple[int, int]) -> None:
    cropped = fit_frame(video, size=size, fit="crop")
    _, _, w, h = cropped.crop
    wanted_w, wanted_h = (
        h * Fraction(size[1], size[0]) / video.sample_aspect,
        w * video.sample_aspect * size[0] / size[1],
    )
    if video.width >= 2 and video.height >= 2:
        assert abs(w - wanted_w) <= 2 or abs(h - wanted_h) <= 2 or min(w, h) == 2
    boxed = fit_frame(video, size=size, fit="letterbox")
    shape = Fraction(video.width, video.height) * video.sample_aspect
    scaled_h, scaled_w = boxed.scaled
    assert scaled_h == size[0] or scaled_w == size[1]
    assert (
        abs(scaled_h - scaled_w / shape) <= Fraction(1, 2)
        or abs(scaled_w - scaled_h * shape) <= Fraction(1, 2)
        or 1
        in (
            scaled_h,
            scaled_w,
        )
    )


@quick
@given(video=VIDEOS, size=st.tuples(SIDES, SIDES), fit=st.sampled_from(FITS))
def test_the_picture_s_corners_come_from_the_crop_s_corners(video: Video, size: tuple[int, int], fit: Fit) -> None:
    found = fit_frame(video, size=size, fit=fit)
    x, y, w, h = found.crop
    (top, left), (scaled_h, scaled_w) = found.pad, found.scaled
    assert at(found, top, left) == pytest.approx((y, x), abs=1e-6)
    assert at(found, top + scaled_h, left + scaled_w) == pytest.approx((y + h, x + w), abs=1e-6)
    assert at(found, top + scaled_h / 2, left + scaled_w / 2) == pytest.approx((y + h / 2, x + w / 2), abs=1e-6)


def test_pixel_centres_by_hand() -> None:
    video = a_video(height=720, width=1280)
    cropped = fit_frame(video, size=(224, 224), fit="crop")
    assert at(cropped, 0.5, 0.5) == pytest.approx((0.5 * 720 / 224, 280 + 0.5 * 720 / 224))
    assert at(cropped, 112, 112) == pytest.approx((360, 640))
    boxed = fit_frame(video, size=(128, 128), fit="letterbox")  # 72 rows of picture below 28 of black, scale 10
    assert at(boxed, 28.5, 0.5) == pytest.approx((5, 5))
    assert at(boxed, 99.5, 127.5) == pytest.approx((715, 1275))
    assert at(boxed, 0.5, 0.5) == pytest.approx((-275, 5))
    stretched = fit_frame(video, size=(72, 64), fit="stretch")
    assert at(stretched, 1.5, 2.5) == pytest.approx((15, 50))
    assert to_source(fit_frame(a_video(), size=(240, 320), fit="crop")) == (1, 0, 0, 0, 1, 0)


def test_the_whole_frame_is_a_track_without_a_box() -> None:
    track = track_of("abc")
    assert (track.video_id, track.boxes, track.track_id) == ("abc", None, track_id("abc", None))


BOX_SIDES = st.floats(1, 400)


@quick
@given(
    video=st.builds(lambda w, h: a_video(width=w, height=h), st.integers(2, 700), st.integers(2, 700)),
    place=st.tuples(st.floats(-300, 690), st.floats(-300, 690)), box=st.tuples(BOX_SIDES, BOX_SIDES),
    fit=st.sampled_from(FITS),
)  # fmt: skip
def test_a_box_shows_what_of_it_lies_in_the_frame(
    video: Video, place: tuple[float, float], box: tuple[float, float], fit: Fit
) -> None:
    path = BoxPath(name="b", boxes=((*place, *box),))
    assume(is_inside(path, video))
    x, y, w, h = geometry_at(path, 0.0, video, size=(32, 48), fit="stretch").crop
    for first, length, start, side, extent in (
        (x, w, place[0], box[0], video.width), (y, h, place[1], box[1], video.height),
    ):  # fmt: skip
        low, high = max(0.0, start), min(extent, start + side)
        assert 0 <= first < first + length <= extent
        assert first % 2 == 0
        assert abs(length - (high - low)) <= 2
        assert abs(first + length / 2 - (low + high) / 2) <= 3
    inner = geometry_at(path, 0.0, video, size=(32, 48), fit=fit).crop
    assert inner[0] >= x
    assert inner[1] >= y
    assert inner[0] + inner[2] <= x + w
    assert inner[1] + inner[3] <= y + h


def test_a_box_moves_on_the_straight_line_and_keeps_its_size() -> None:
    path = BoxPath(name="b", seconds=(1.0, 3.0), boxes=((10.0, 20.0, 64.0, 48.0), (110.0, 60.0, 64.0, 48.0)))
    assert [box_at(path, t)[:2] for t in (0.0, 1.0, 2.0, 3.0, 9.0)] == [
        (10, 20),
        (10, 20),
        (60, 40),
        (110, 60),
        (110, 60),
    ]
    video = a_video(width=320, height=240)
    crops = [geometry_at(path, 1 + i / 50, video, size=(48, 64), fit="crop").crop for i in range(101)]
    assert {crop[2:] for crop in crops} == {(64, 48)}, "a size that changed by a pixel or two would look like a tremble"
    assert crops[0] == (10, 20, 64, 48)
    assert crops[-1] == (110, 60, 64, 48)


def test_boxes_outside_of_the_frame_are_told() -> None:
    video = a_video(width=320, height=240)
    assert is_inside(BoxPath(name="b", boxes=((-10.0, 0.0, 20.0, 20.0),)), video)
    assert not is_inside(BoxPath(name="b", boxes=((320.0, 0.0, 20.0, 20.0),)), video)
    assert not is_inside(BoxPath(name="b", boxes=((0.0, -20.0, 20.0, 20.0),)), video)
