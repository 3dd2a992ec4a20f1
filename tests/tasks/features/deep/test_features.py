"""Deep features are what transformers gives by hand on the same frames, however they are batched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from small_networks import (
    CLIP,
    TUBELET,
    Array,
    build,
    by_hand,
    close,
    grid_of,
    noise,
    prepared,
    save_all,
    spec,
    windows,
)

from patchlake.tasks.errors import ModelError
from patchlake.tasks.features.deep.batching import Batches
from patchlake.tasks.features.deep.options import HfClipSpec
from patchlake.tasks.features.extractor import window_frames
from patchlake.tasks.grid import Grid

EXTRA = {"vit": 1, "dinov2": 1, "swin": 0, "clip": 1, "clip_vision": 1, "siglip": 0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one small model of each kind."""
    return save_all(tmp_path_factory.mktemp("deep"))


@pytest.mark.parametrize("name", ["vit", "dinov2", "swin", "clip", "clip_vision", "siglip"])
def test_image_tokens_are_those_of_transformers(saved: Path, name: str) -> None:
    size = (64, 64) if name == "dinov2" else (32, 32)
    frames = noise(5, *size)
    hidden, pooled = by_hand(saved, name, prepared(frames))
    tokens = hidden[:, EXTRA[name] :]
    side = round(tokens.shape[1] ** 0.5)
    close(build(spec(saved, name), size)(frames), tokens.reshape(5, side, side, -1))
    close(build(spec(saved, name, pool="tokens"), size)(frames), tokens.mean(1)[:, None, None])
    vector = build(spec(saved, name, pool="clip"), size)
    close(vector(frames), pooled[:, None, None])
    assert "pooler" in vector.attrs["pooling"]
    assert vector.centres == ((size[0] / 2,), (size[1] / 2,))


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "convnext"])
def test_maps_are_those_of_transformers_at_the_frames_own_size(saved: Path, name: str) -> None:
    frames = noise(3, 64, 96)
    hidden, pooled = by_hand(saved, name, prepared(frames))
    close(build(spec(saved, name), (64, 96))(frames), hidden.transpose(0, 2, 3, 1))
    close(build(spec(saved, name, pool="clip"), (64, 96))(frames), pooled[:, None, None])
    smaller = build(spec(saved, name, input=[32, 64]), (64, 96))
    close(smaller(frames), by_hand(saved, name, prepared(frames, (32, 64)))[0].transpose(0, 2, 3, 1))


def test_frames_are_resized_to_what_the_processor_says(saved: Path, tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(saved / "dinov2").save_pretrained(tmp_path / "m")
    card = {"do_center_crop": True, "crop_size": {"height": 32, "width": 48}, "size": {"shortest_edge": 40}}
    card |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps(card))
    frames = noise(3, 60, 80)
    extractor = build(spec(tmp_path, "m"), (60, 80))
    x = prepared(frames, (32, 48), {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)})
    close(extractor(frames), by_hand(tmp_path, "m", x)[0][:, 1:].reshape(3, 4, 6, -1))
    assert extractor.attrs["input_size"] == [32, 48]
    own = build(spec(tmp_path, "m", input=[64, 64], mean=[0, 0, 0], std=[1, 1, 1]), (60, 80))
    x = prepared(frames, (64, 64), {"mean": (0.0,) * 3, "std": (1.0,) * 3})
    close(own(frames), by_hand(tmp_path, "m", x)[0][:, 1:].reshape(3, 8, 8, -1))


@pytest.mark.parametrize(
    ("name", "processor"),
    [("vivit", "VivitImageProcessor"), ("clip", "CLIPImageProcessor"), ("vit", "ViTImageProcessor")],
)
def test_a_saved_processor_s_constants_are_those_it_uses(
    saved: Path, tmp_path: Path, name: str, processor: str
) -> None:
    card = getattr(transformers, processor)(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    transformers.AutoModel.from_pretrained(saved / name).save_pretrained(tmp_path / name)
    card.save_pretrained(tmp_path / name)
    frames = noise(4)
    found = build(spec(tmp_path, name))(frames)
    x = card([list(frames)] if name in CLIP else list(frames), return_tensors="pt")["pixel_values"]
    hidden, _ = by_hand(tmp_path, name, x)
    if name in CLIP:
        close(found, grid_of(name, hidden).reshape(2, 4, 4, 16))
    else:
        close(found, hidden[:, 1:].reshape(4, 4, 4, 16))
    assert not np.allclose(found, build(spec(saved, name))(frames), atol=1e-3)


@pytest.mark.parametrize("name", CLIP)
def test_clip_tokens_are_those_of_transformers(saved: Path, name: str) -> None:
    frames = noise(14)
    hidden, pooled = by_hand(saved, name, windows(frames, range(0, 12, 4)))
    tokens = grid_of(name, hidden)
    dense = build(spec(saved, name))
    close(dense(frames), tokens.reshape(-1, *tokens.shape[2:]))
    assert (dense.time_size, dense.time_stride) == (TUBELET[name], TUBELET[name])
    assert window_frames(dense) == (4, 4)
    close(build(spec(saved, name, pool="tokens"))(frames), tokens.mean((2, 3)).reshape(-1, 1, 1, tokens.shape[-1]))
    close(build(spec(saved, name, pool="time"))(frames), tokens.mean(1))
    vector = build(spec(saved, name, pool="clip"))
    expected = {"vivit": pooled, "timesformer": hidden[:, 0]}.get(name, tokens.mean((1, 2, 3)))
    close(vector(frames), expected[:, None, None])
    said = {"vivit": "pooler", "timesformer": "class token"}.get(name, "mean of all tokens")
    assert said in vector.attrs["pooling"]
    assert len(dense(frames[:3])) == 0, "an incomplete window has no rows"


@pytest.mark.parametrize("name", CLIP)
def test_the_token_that_a_change_moves_most_is_the_one_that_lies_there(saved: Path, name: str) -> None:
    extractor = build(spec(saved, name))
    frames = np.full((8, 32, 32, 3), 100, dtype=np.uint8)
    plain = extractor(frames)
    for t, y, x in ((0, 0, 3), (5, 2, 1), (7, 3, 0), (2, 1, 2)):
        changed = frames.copy()
        changed[t, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8, 0] = 255
        moved = np.linalg.norm(extractor(changed) - plain, axis=-1)
        assert np.unravel_index(moved.argmax(), moved.shape) == (t // TUBELET[name], y, x)


def test_windows_may_overlap_and_skip_frames_where_time_is_pooled(saved: Path) -> None:
    frames = noise(20)
    extractor = build(spec(saved, "videomae", pool="time", every=2, step=3))
    assert (extractor.time_size, extractor.time_stride, window_frames(extractor)) == (10, 2, (10, 2))
    hidden, _ = by_hand(saved, "videomae", windows(frames, range(0, 11, 2), step=3))
    close(extractor(frames), grid_of("videomae", hidden).mean(1))
    dense = build(spec(saved, "videomae", every=12, step=3))
    assert (dense.time_size, dense.time_stride, window_frames(dense)) == (4, 6, (10, 12))
    longer = build(spec(saved, "vjepa2", frames=8, every=8))
    x = windows(frames, range(0, 16, 8), length=8)
    close(longer(frames), by_hand(saved, "vjepa2", x)[0].reshape(8, 4, 4, 24))


@pytest.mark.parametrize("stride", [None, [2, 8, 16]])
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_each_patch_is_cropped_resized_and_put_through_the_network(
    saved: Path, name: str, stride: list[int] | None
) -> None:
    frames, size = noise(9, 48, 64), (32, 32)
    grid = Grid((4, 16, 24), (2, 8, 16) if stride else (4, 16, 24))
    crops: Any = {"size": [4, 16, 24], "stride": stride} if stride else "patches"
    options = {"crops": crops, "every": 2, "input": [32, 32]}
    extractor = build(spec(saved, name, **options), (48, 64), grid)
    shape = grid.shape((9, 48, 64))
    expected = np.empty((*shape, 16 if name == "vit" else 24), dtype=np.float32)
    for index in np.ndindex(*shape):
        x = prepared(frames[grid.cell(index)][::2], size)
        expected[index] = by_hand(saved, name, x)[1].mean(0)
    found = extractor(frames)
    close(found, expected)
    assert extractor.centres == (tuple(grid.centres(1, 48)), tuple(grid.centres(2, 64)))
    assert (extractor.time_size, extractor.time_stride) == (grid.size[0], grid.stride[0])
    close(build(spec(saved, name, **options, batch=3), (48, 64), grid)(frames), found)


@pytest.mark.parametrize(("name", "length"), [("videomae", 4), ("vjepa2", 8), ("timesformer", 2)])
def test_each_patch_s_frames_are_spread_for_a_clip_network(saved: Path, name: str, length: int) -> None:
    frames, grid = noise(9, 48, 64), Grid((length, 24, 32), (length, 24, 32))
    entry = HfClipSpec(kind="hf_clip", path=str(saved / name), crops="patches", pool="clip" if length == 8 else None,
                       dtype="float32", device="cpu")  # fmt: skip
    extractor = build(entry, (48, 64), grid)
    picked = {4: [0, 1, 2, 3], 8: [1, 3, 5, 7], 2: [0, 0, 1, 1]}[length]
    shape = grid.shape((9, 48, 64))
    expected = []
    for index in np.ndindex(*shape):
        x = prepared(frames[grid.cell(index)][picked], (32, 32))
        hidden, _ = by_hand(saved, name, x[None])
        expected.append(hidden[0, 0] if name == "timesformer" else hidden[0].mean(0))
    close(extractor(frames), np.stack(expected).reshape(*shape, -1))


@pytest.mark.parametrize(("compute", "within"), [("bfloat16", 0.1), ("float16", 0.02)])
@pytest.mark.parametrize("name", ["vit", "resnet", "videomae"])
def test_lower_types_of_compute_are_near_and_another_product(
    saved: Path, name: str, compute: Any, within: float
) -> None:
    frames = noise(4, 64, 64)
    whole, lower = (build(spec(saved, name, compute=c), (64, 64)) for c in ("float32", compute))
    first, second = whole(frames), lower(frames)
    assert 0 < np.abs(first - second).mean() < within * np.abs(first).mean() + 1e-3
    assert whole.digest_parts != lower.digest_parts
    assert lower.attrs["compute"] == compute


def test_device_batch_and_compile_are_said_but_no_part_of_the_key(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build(spec(saved, "vit"))
    other = build(spec(saved, "vit", device="auto", batch=3, compile=True))
    assert one.digest_parts == other.digest_parts
    assert (one.attrs["batch"], other.attrs["batch"]) == ("auto", 3)
    assert (one.attrs["device"], other.attrs["device"]) == ("cpu", "auto")
    assert one.attrs["model_digest"] == one.digest_parts["model"]
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    frames = noise(7)
    assert np.array_equal(one(frames), other(frames))
    assert len(compiled) == 1


# batches


def test_batches_double_and_halve_where_memory_runs_out() -> None:
    tried = []

    def run(start: int, stop: int, size: int) -> Array:
        tried.append(size)
        if size > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return np.arange(start, stop)

    batches = Batches(first=4, most=256, what="features.m")
    assert np.concatenate(batches(100, run)).tolist() == list(range(100))
    assert tried[:4] == [4, 8, 16, 32]
    assert set(tried[4:-1]) == {16}, "once halved, it does not grow again"
    assert tried[-1] == 100 - 28 - 4 * 16
    tried.clear()
    batches(32, run)
    assert tried == [16, 16]
    given = Batches(first=64, most=64, what="features.m")
    assert np.concatenate(given(70, run)).tolist() == list(range(70))
    assert given.size == 16
    assert tried[-3:] == [16] * 3, "a batch that does not grow is always full"


def test_an_input_too_large_for_memory_and_other_errors_are_said() -> None:
    def full(start: int, stop: int, size: int) -> Array:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    def broken(start: int, stop: int, size: int) -> Array:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(ModelError, match=r"features\.m: memory does not suffice for one input"):
        Batches(first=8, most=8, what="features.m")(9, full)
    with pytest.raises(RuntimeError, match="mat1"):
        Batches(first=8, most=8, what="features.m")(9, broken)


def test_a_network_that_runs_out_of_memory_gives_the_same_rows(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noise(21)
    whole = build(spec(saved, "vit"))(frames)
    real, sizes = transformers.ViTModel.forward, []

    def forward(self: Any, pixel_values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(pixel_values))
        if len(pixel_values) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, pixel_values, *args, **kwargs)

    extractor = build(spec(saved, "vit"))
    monkeypatch.setattr(transformers.ViTModel, "forward", forward)
    close(extractor(frames), whole)
    assert sizes[:3] == [4, 2, 1]
    assert set(sizes[3:]) == {1}
