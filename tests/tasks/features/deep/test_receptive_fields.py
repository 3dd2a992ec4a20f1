"""Tokens lie where and when they are said to, in any lake."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numbered_clips as clips
import numpy as np
import pytest
import torch
import transformers
from in_process import Ingested, ingest
from small_networks import (
    build,
    by_hand,
    close,
    grid_of,
    make,
    save_all,
    spec,
    trained,
    windows,
)
from torch import nn

from patchlake.tasks import tracks
from patchlake.tasks.features.deep.options import HfClipSpec
from patchlake.tasks.features.deep.receptive_fields import Watch
from patchlake.tasks.types import BoxPath

BOX_COLUMNS = ["uri", "track", "seconds", "x", "y", "width", "height"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one small model of each kind."""
    return save_all(tmp_path_factory.mktemp("deep"))


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "convnext"])
@pytest.mark.parametrize("size", [(224, 288), (200, 232)])
def test_cells_lie_in_the_middle_of_what_they_see(saved: Path, name: str, size: tuple[int, int]) -> None:
    """With all weights alike, the gradient of a cell over the input is symmetric about its centre."""
    model = transformers.AutoModel.from_pretrained(saved / name).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
        elif isinstance(module, nn.MaxPool2d):  # of equal pixels it takes the first
            module.forward = nn.AvgPool2d(module.kernel_size, module.stride, module.padding).forward
        elif "Norm" in type(module).__name__ or isinstance(module, nn.GELU):
            module.forward = lambda x: x  # a norm over channels has no gradient where all are alike
    x = torch.full((1, 3, *(4 * side for side in size)), 1e-3, requires_grad=True)
    hidden = model(x).last_hidden_state
    extractor = build(spec(saved, name), tuple(x.shape[2:]))
    row, column = hidden.shape[2] // 2, hidden.shape[3] // 2
    hidden[0, :, row, column].sum().backward()
    weight = x.grad.abs().sum((0, 1)).double().numpy()
    for axis, cell in ((0, row), (1, column)):
        along = weight.sum(1 - axis)
        centre = (along * (np.arange(len(along)) + 0.5)).sum() / along.sum()
        assert extractor.centres[axis][cell] == pytest.approx(centre, abs=0.05)
    first = {"resnet": 0.5, "mobilenet": 31.5, "convnext": 16.0}[name]
    assert extractor.centres[0][:2] == (first, first + 32)


def test_steps_that_can_not_be_followed_are_taken_as_tiles() -> None:
    watch = Watch(axes=2)
    with torch.no_grad(), watch.on():
        torch.empty(1, 3, 8, 8, device="meta").unfold(2, 2, 2)
    assert watch.place(0, 8, 4).centres(4, scale=1.0) == (1.0, 3.0, 5.0, 7.0)


SOURCE = (120, 160)
"""Upright height, width of the clips below."""


def render_spot(path: Path, spot: tuple[int, int], when: tuple[int, int], *, turned: bool = False) -> None:
    """Write 64 dim frames at 25 per second with a bright square of 12 pixels about (x, y) in frames [a, b)."""
    height, width = SOURCE
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(25), options={"qp": "8", "preset": "ultrafast", "g": "16"}
        )
        stream.width, stream.height = (height, width) if turned else (width, height)
        stream.pix_fmt = "yuv420p"
        for i in range(64):
            frame = np.full((height, width, 3), 40, dtype=np.uint8)
            if when[0] <= i < when[1]:
                frame[spot[1] - 6 : spot[1] + 6, spot[0] - 6 : spot[0] + 6] = 255
            frame = np.ascontiguousarray(np.rot90(frame)) if turned else frame  # a player turns it back, clockwise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    if turned:
        clips._turn(path, 90)


def brighten(name: str, folder: Path) -> None:
    """Save a model whose first channel grows with the brightness of its cell: nothing else passes."""
    model = make(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                share = 1 / module.weight[0].numel()
                if name in ("vit", "videomae"):
                    module.weight[0] = 20 * share
                else:
                    module.weight.fill_(share)
            elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.weight.fill_(1)
        if name == "vit":
            model.embeddings.position_embeddings[..., 1:3] = torch.tensor([30.0, -30.0])
    model.save_pretrained(folder)


CASES = ["crop", "letterbox", "turned", "moving box"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["vit", "resnet", "videomae"])
def test_the_hottest_token_lies_at_the_spot(tmp_path: Path, name: str, case: str) -> None:
    spot, when = (67, 83), (36, 40)
    (tmp_path / "videos").mkdir()
    render_spot(tmp_path / "videos" / "a.mp4", spot, when, turned=case == "turned")
    brighten(name, tmp_path / "m")
    size = (64, 96) if name == "resnet" else (64, 64)
    kind: dict[str, Any] = {"kind": "hf_clip", "every": 4} if name == "videomae" else {"kind": "hf"}
    recipe: dict[str, Any] = {
        "corpus": {"videos": "videos"},
        "frames": {"size": list(size), "fit": "letterbox" if case == "letterbox" else "crop"},
        "patches": {"size": [4, 16, 16]},
        "features": [{**kind, "path": "./m", "name": "m", "dtype": "float32", "device": "cpu"}],
    }
    path = None
    if case == "moving box":
        path = BoxPath(name="b", seconds=(0.0, 2.56), boxes=((0, 30, 90, 80), (60, 40, 90, 80)))
        with (tmp_path / "boxes.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(BOX_COLUMNS)
            rows.writerows(["videos/a.mp4", "b", s, *box] for s, box in zip(path.seconds, path.boxes, strict=True))
        recipe["tracks"] = {"boxes": str(tmp_path / "boxes.csv")}
    done = ingest(tmp_path, recipe)
    tokens, seconds = done.array("m/features"), done.array("m/seconds")
    heat = tokens[..., 0] if name != "resnet" else tokens.mean(-1)
    heat[done.array("m/track") < 0] = -np.inf
    row, i, j = np.unravel_index(heat.argmax(), heat.shape)
    video = next(iter(done.survey.videos.values()))
    assert (video.height, video.width) == SOURCE
    assert abs(seconds[row] - (when[0] + 1.5) / 25) <= 2 / 25
    geometry = tracks.geometry_at(path, float(seconds[row]), video, size=size, fit=recipe["frames"]["fit"])
    a, _, c, _, e, f = tracks.to_source(geometry)
    y, x = done.array("m/y"), done.array("m/x")
    cell = 32 if name == "resnet" else 16
    assert abs(a * x[j] + c - spot[0]) <= a * cell / 2 + 3
    assert abs(e * y[i] + f - spot[1]) <= e * cell / 2 + 3
    assert heat.max() > np.median(heat[done.array("m/track") >= 0]) + 0.05


# in a lake


def lake_of(folder: Path, saved: Path, lake: str, **changes: Any) -> Ingested:
    entry, over = {"dtype": "float32", "device": "cpu"}, {"step": 3, "pool": "time"}
    recipe = {
        "lake": lake,
        "corpus": {"videos": "videos"},
        "frames": {"size": [32, 32]},
        "patches": {"size": [4, 16, 16]},
        "features": [
            {"kind": "hf_clip", "path": str(saved / "videomae"), "name": "dense", "every": 4, **entry},
            {"kind": "hf_clip", "path": str(saved / "videomae"), "name": "over", "every": 4, **over, **entry},
            {"kind": "hf_clip", "path": str(folder / "st"), "name": "st", "every": 8, **entry},
            {"kind": "hf", "path": str(saved / "vit"), "name": "vit", "every": 2, **entry},
            {"kind": "hf", "path": str(saved / "vit"), "name": "crops", "crops": "patches", "every": 2, **entry},
        ],
    }  # fmt: skip
    return ingest(folder, {**recipe, **changes})


def test_rows_are_the_same_whatever_the_units_and_when_the_feature_came(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=119, gop=8)
    clips.render(tmp_path / "videos" / "b.mp4", num_frames=21, gop=8, start=300)
    trained(tmp_path / "st", "st_cnn", 8)
    first = lake_of(tmp_path, saved, "one")
    second = lake_of(tmp_path, saved, "two", units={"slot_frames": 32, "slots": 1})
    assert len(second.plan.units) > len(first.plan.units)
    lake_of(tmp_path, saved, "three", features=[])
    third = lake_of(tmp_path, saved, "three")
    fourth = lake_of(tmp_path, saved, "four", units={"slot_frames": 128, "slots": 1})
    for name in ("dense", "over", "st", "vit", "crops"):
        for part in ("features", "seconds", "track"):
            found = [done.array(f"{name}/{part}") for done in (first, second, third)]
            assert np.array_equal(found[0], found[1], equal_nan=part == "seconds")
            assert np.array_equal(found[0], found[2], equal_nan=part == "seconds"), "from stored pixels"
        there, same = (done.array(f"{name}/track") >= 0 for done in (first, fourth))
        assert np.array_equal(first.array(f"{name}/features")[there], fourth.array(f"{name}/features")[same])
        assert np.array_equal(first.array(f"{name}/seconds")[there], fourth.array(f"{name}/seconds")[same])
    for placement in first.plan.placements:
        n, start = placement.span.num_rows, placement.row_start
        frames = first.array("pixels/frames")[start : start + n]
        hidden, _ = by_hand(saved, "videomae", windows(frames, range(0, n - 3, 4)))
        tokens = grid_of("videomae", hidden)
        rows = slice(start // 2, start // 2 + 2 * (n // 4))
        close(first.array("dense/features")[rows], tokens.reshape(-1, 4, 4, 16))
        assert first.array("dense/seconds")[rows] == pytest.approx((2 * np.arange(2 * (n // 4)) + 0.5) / 25)
        count = (n - 10) // 4 + 1
        hidden, _ = by_hand(saved, "videomae", windows(frames, range(0, n - 9, 4), step=3))
        rows = slice(start // 4, start // 4 + count)
        close(first.array("over/features")[rows], grid_of("videomae", hidden).mean(1))
        assert first.array("over/seconds")[rows] == pytest.approx((4 * np.arange(count) + 4.5) / 25)
    long = max(first.plan.placements, key=lambda p: p.span.num_rows)
    rows = first.track_rows(long.span.video_id, "st")
    assert first.array("st/seconds")[rows] == pytest.approx(4 * np.arange(len(rows)) / 25)
    assert len(rows) == 30, "a window of 7 frames at the span's end sees its last frame twice"
    frames = first.array("pixels/frames")[long.row_start : long.row_start + 119]
    entry = HfClipSpec(kind="hf_clip", path=str(tmp_path / "st"), every=8, dtype="float32", device="cpu")
    close(first.array("st/features")[rows[-2:]], build(entry)(frames[[*range(112, 119), 118]]))
