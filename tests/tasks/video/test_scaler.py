"""Colours by arithmetic: matrix, range, bits, grey, and what shows through transparent pixels."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame

from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.tracks import fit_frame
from patchlake.tasks.video.decoder import Decoder, DecodeRequest
from patchlake.tasks.video.demux import Refused
from patchlake.tasks.video.probe import video_of
from patchlake.tasks.video.scaler import SCALING, Chain, Scaler, has_alpha

BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
"""Weights of red and blue in luma."""
TV, PC = 1, 2
ALPHA_FORMATS = (
    "rgba", "bgra", "argb", "abgr", "rgba64le", "rgba64be", "gbrap", "gbrap12le", "gbrap16le", "ya8", "ya16le",
    "yuva420p", "yuva422p", "yuva444p", "yuva420p10le", "yuva444p12le", "yuva444p16le",
)  # fmt: skip
Frames = npt.NDArray[np.uint8]


def on_grid(frame: VideoFrame, size: tuple[int, int] | None = None) -> Frames:
    """Return the whole frame at a size (height, width), by default its own."""
    size = size or (frame.height, frame.width)
    crop = [0, 0, frame.width, frame.height]
    scaler = Scaler({"rotation": 0, "crop": crop, "scaled": list(size), "pad": [0, 0], "size": list(size)})
    return scaler(frame).reshape(*size, 3).copy()


def frame_of(pixel_format: str, planes: list[Any], *, size: tuple[int, int], matrix: int = 2, levels: int = 0) -> Any:
    """Return a frame whose planes hold the given values, broadcast."""
    frame = VideoFrame(size[1], size[0], pixel_format)
    dtype = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // np.dtype(dtype).itemsize), dtype)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = matrix, levels
    return frame


def rgb_of(y: float, u: float, v: float, weights: tuple[float, float], levels: int) -> npt.NDArray[np.float64]:
    """Return the colour of 8-bit samples as ITU-R BT.601, 709 and 2020 define it."""
    red, blue = weights
    luma, cb, cr = (y - 16) / 219 * 255, (u - 128) / 224 * 255, (v - 128) / 224 * 255
    if levels == PC:
        luma, cb, cr = y, u - 128, v - 128
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return np.clip([r, (luma - red * r - blue * b) / (1 - red - blue), b], 0, 255)


@pytest.mark.parametrize("levels", [TV, PC])
@pytest.mark.parametrize(
    ("matrix", "weights"), [(1, BT709), (5, BT601), (6, BT601), (9, BT2020), (2, BT601), (3, BT601)]
)
def test_a_matrix_is_the_stream_s_or_else_bt601(matrix: int, weights: tuple[float, float], levels: int) -> None:
    rng = np.random.default_rng(matrix)
    for y, u, v in rng.integers(40, 210, (20, 3)):
        for pixel_format in ("yuv444p", "yuv422p", "yuv420p"):
            frame = frame_of(pixel_format, [y, u, v], size=(8, 8), matrix=matrix, levels=levels)
            for size in ((8, 8), (4, 6), (12, 14)):
                worst = np.abs(on_grid(frame, size) - rgb_of(y, u, v, weights, levels)).max()
                assert worst <= (0.55 if pixel_format == "yuv444p" else 3.5)


def test_a_range_that_is_not_told_is_the_pixel_format_s() -> None:
    assert on_grid(frame_of("yuv420p", [16, 128, 128], size=(8, 8))).max() <= 1
    assert on_grid(frame_of("yuv420p", [235, 128, 128], size=(8, 8))).min() >= 253
    for value in (0, 16, 100, 235, 255):
        for pixel_format in ("yuvj420p", "gray"):
            planes = [value, 128, 128][: 1 if pixel_format == "gray" else 3]
            assert np.abs(on_grid(frame_of(pixel_format, planes, size=(8, 8))).astype(int) - value).max() <= 1


def test_a_matrix_that_swscale_lacks_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="matrix 8") as caught:
        on_grid(frame_of("yuv444p", [100, 100, 100], size=(8, 8), matrix=8))
    assert caught.value.reason == "unsupported_codec"


@pytest.mark.parametrize("pixel_format", ["gray10le", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le"])
def test_more_than_8_bits_come_out_near_the_exact_value_and_grey_stays_grey(pixel_format: str) -> None:
    steps = 4 if "12" in pixel_format else 1
    luma = np.arange(1024) * steps
    levels = PC if pixel_format.startswith("gray") else TV
    chroma = [] if levels == PC else [512 * steps] * 2
    found = on_grid(frame_of(pixel_format, [luma[None], *chroma], size=(16, 1024), levels=levels))
    exact = luma / luma[-1] * 255 if levels == PC else np.clip((luma / steps - 64) / 876 * 255, 0, 255)
    assert np.abs(found[8] - exact[:, None]).max() <= 3
    assert (found == found[..., :1]).all()
    assert (np.diff(found[8, :, 0].astype(int)) >= 0).all()


def test_10_bit_chroma_of_420_is_weighted_3_to_1_between_its_lines_where_the_height_stays() -> None:
    """FFmpeg 5.1 mixes the two lines 1 to 1."""
    chroma = np.array([[400], [600], [500], [700]])
    found = on_grid(frame_of("yuv420p10le", [512, chroma, 512], size=(8, 4), levels=TV))[:, 0, 2]
    lines = chroma[:, 0] / 4
    around = np.concatenate([lines[:1], lines, lines[-1:]])
    mixed = [0.75 * lines[i // 2] + 0.25 * around[i // 2 + (0, 2)[i % 2]] for i in range(8)]
    expected = [rgb_of(128, u, 128, BT601, TV)[2] for u in mixed]
    assert np.abs(found - np.array(expected)).max() <= 3.5


def test_see_through_pixels_are_put_on_black_exactly() -> None:
    colour, alpha = np.mgrid[:256, :256]
    rgba = np.stack([colour, 255 - colour, np.full_like(colour, 77), alpha], axis=-1).astype(np.uint8)
    found = on_grid(VideoFrame.from_ndarray(rgba, format="rgba"))
    np.testing.assert_array_equal(found, np.rint(rgba[..., :3] * (alpha[..., None] / 255)))


@pytest.mark.parametrize("size", [(48, 64), (20, 30), (90, 100)])
@pytest.mark.parametrize("pixel_format", ["rgba", "bgra", "argb", "abgr", "gbrap"])
def test_opaque_frames_come_out_as_if_they_had_no_alpha(pixel_format: str, size: tuple[int, int]) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (48, 64, 4), np.uint8)
    rgba[..., 3] = 255
    frame = VideoFrame.from_ndarray(rgba, format="rgba")
    with_alpha = Chain([f"scale=flags={SCALING}", f"format={pixel_format}"])(frame)
    assert has_alpha(with_alpha)
    without = VideoFrame.from_ndarray(np.ascontiguousarray(rgba[..., :3]), format="rgb24")
    np.testing.assert_array_equal(on_grid(with_alpha, size), on_grid(without, size))


@pytest.mark.parametrize("pixel_format", ALPHA_FORMATS)
def test_hidden_colours_do_not_bleed_into_their_neighbours(pixel_format: str) -> None:
    rgba = np.zeros((32, 64, 4), np.uint8)
    rgba[:, :32] = (250, 250, 250, 0)
    rgba[:, 32:] = (0, 0, 0, 255)
    rgba[:8, 48:] = (200, 200, 200, 255)
    frame = Chain([f"scale=flags={SCALING}", f"format={pixel_format}"])(VideoFrame.from_ndarray(rgba, format="rgba"))
    assert frame.format.name == pixel_format
    for size in ((32, 64), (10, 21), (50, 99)):
        found = on_grid(frame, size)
        assert found[:, : size[1] * 6 // 10].max() <= 2
        assert np.abs(found[: size[0] // 8, size[1] * 9 // 10 :].astype(int) - 200).max() <= 3


def palette_frame(alpha: int) -> VideoFrame:
    """Return left half entry 0, blue with an alpha; right half entry 1, opaque orange."""
    frame = VideoFrame(16, 8, "pal8")
    entries = np.zeros((256, 4), np.uint8)
    entries[:, 3] = 255
    entries[0], entries[1] = (255, 0, 0, alpha), (0, 128, 255, 255)
    line = np.zeros(frame.planes[0].line_size, np.uint8)
    line[8:16] = 1
    frame.planes[0].update(np.tile(line, 8).tobytes())
    frame.planes[1].update(entries.tobytes())
    return frame


def test_palette_entries_may_be_see_through() -> None:
    for alpha, blue in ((255, 255), (0, 0), (100, 100)):
        frame = palette_frame(alpha)
        assert has_alpha(frame) == (alpha < 255)
        found = on_grid(frame)
        assert (found[:, :8] == (0, 0, blue)).all()
        assert (found[:, 8:] == (255, 128, 0)).all()


FILES = {
    "gif.gif": ["-filter_complex", "split[a][b];[a]palettegen[p];[b][p]paletteuse"],
    "png.mov": ["-c:v", "png"],
    "qtrle.mov": ["-c:v", "qtrle", "-pix_fmt", "argb"],
    "raw.mov": ["-c:v", "rawvideo", "-pix_fmt", "argb"],
    "utvideo.avi": ["-c:v", "utvideo", "-pix_fmt", "gbrap"],
    "ffv1.mkv": ["-c:v", "ffv1", "-pix_fmt", "yuva420p"],
    "prores.mov": ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"],
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_s_transparent_pixels_are_black(tmp_path: Path, name: str) -> None:
    picture = "color=0xE08020:size=64x48:rate=10:duration=0.3,format=rgba,geq=r=224:g=128:b=32:a='255*gte(X,32)'"
    command = [clips.tool("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", picture, *FILES[name], str(tmp_path / name)]
    subprocess.run(command, check=True)
    uri, decoder = uri_of(tmp_path / name), Decoder()
    facts, index = decoder.probe(uri)
    video = video_of("", facts, index)
    request = DecodeRequest(
        uri=uri,
        geometry=fit_frame(video, size=(24, 32), fit="crop"),
        time_base=video.time_base,
        first_pts=video.first_pts,
        pts_lo=video.first_pts,
    )
    frames = np.concatenate([frames.copy() for frames, _ in decoder.frames(request)]).astype(int)
    decoder.close()
    assert len(frames) == 3
    assert frames[:, :, :14].max() <= 2
    assert np.abs(frames[:, :, 18:] - (224, 128, 32)).max() <= 6
