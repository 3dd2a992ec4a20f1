"""Features are what plain loops over whole frames give, however the frames are handed over."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import reference_features as loops
import torch
import transformers
from PIL import Image
from pydantic import ValidationError
from reference_features import moving, texture

from patchlake.tasks import features
from patchlake.tasks.errors import ModelError, RecipeError
from patchlake.tasks.features import Extractor
from patchlake.tasks.features.deep.options import HfSpec
from patchlake.tasks.features.edges import EdgesSpec
from patchlake.tasks.features.flow import FlowSpec
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FrameArray
from patchlake.tasks.unit import worker_setup

Floats = npt.NDArray[np.float64]
GRIDS = [
    Grid((4, 16, 16), (4, 16, 16)),
    Grid((3, 20, 12), (2, 9, 16), (0, 5, 3)),
    Grid((1, 8, 8), (2, 24, 24)),
]


@pytest.fixture(autouse=True, scope="module")
def _as_in_a_worker() -> None:
    worker_setup.setup()


def build(spec: Any, grid: Grid, frames: FrameArray) -> Extractor:
    return features.build(spec, patches=grid, frame_size=(frames.shape[1], frames.shape[2]))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("canny", [(100.0, 200.0), (20.0, 60.0)])
def test_edges_are_those_of_plain_loops(grid: Grid, canny: tuple[float, float]) -> None:
    frames = moving(9)
    extractor = build(EdgesSpec(kind="edges", canny=canny), grid, frames)
    expected = loops.edges(frames, grid, canny)
    found = extractor(frames)
    assert found.dtype == np.float32
    assert extractor.channels == ("gradient_x", "gradient_y", "magnitude", "canny")
    assert expected[..., 3].max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_ramp_of_one_level_a_pixel_has_gradient_one() -> None:
    frames = np.repeat(np.arange(64, dtype=np.uint8)[None, None, :, None], 3, axis=3).repeat(48, axis=1)
    extractor = build(EdgesSpec(kind="edges"), Grid((1, 16, 16), (1, 16, 16), (0, 16, 16)), frames)
    np.testing.assert_allclose(extractor(frames)[0, 0, :2], [[1, 0, 1, 0]] * 2, atol=1e-6)
    turned = extractor(np.ascontiguousarray(frames.transpose(0, 2, 1, 3)[:, :48]).repeat(2, axis=2)[:, :, :64])
    np.testing.assert_allclose(turned[0, 0, :2], [[0, 1, 1, 0]] * 2, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_flow_is_that_of_plain_loops(grid: Grid, preset: Any) -> None:
    frames = moving(8, size=(96, 104))
    extractor = build(FlowSpec(kind="flow", preset=preset), grid, frames)
    expected, slack = loops.flow(frames, grid, preset), loops.flow_slack(frames, grid, preset)
    found = extractor(frames)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert len(extractor.channels) == 16
    np.testing.assert_allclose(found[..., [0, 1, 2, 5, 6]], expected[..., [0, 1, 2, 5, 6]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[..., 3:5], expected[..., 3:5], atol=2e-3)  # a difference of squares in float32
    off = np.abs(found[..., 7:] - expected[..., 7:])
    assert (off <= slack + 1e-4 * (1 + expected[..., 2:3])).all()
    assert slack.mean() < 0.1 * expected[..., 2].mean() + 0.02, "the comparison above would prove little"


@pytest.mark.parametrize(("dx", "dy"), [(2, -1), (-1, 2), (3, 0), (0, -2), (1, 1)])
def test_a_moving_square_has_its_own_speed_inside(dx: int, dy: int) -> None:
    frames = np.stack([np.roll(f, (10, 16), axis=(0, 1)) for f in moving(5, size=(104, 112), dx=dx, dy=dy)])
    grid = Grid((4, 16, 16), (4, 16, 16), (0, 38, 44))  # cell 0, 0 lies inside the square in every frame
    (row,) = build(FlowSpec(kind="flow", preset="medium"), grid, frames)(frames)
    inside = dict(zip(build(FlowSpec(kind="flow"), grid, frames).channels, row[0, 0], strict=True))
    assert inside["u"] == pytest.approx(dx, abs=0.15)
    assert inside["v"] == pytest.approx(dy, abs=0.15)
    assert inside["speed"] == pytest.approx(math.hypot(dx, dy), abs=0.15)
    assert inside["u_std"] < 0.4
    assert inside["hof_still"] == 0
    if dx and dy and abs(dx) != abs(dy):
        sector = int(math.degrees(math.atan2(dy, dx)) % 360 // 45)
        assert inside[f"hof_{sector}"] == pytest.approx(inside["speed"], rel=0.05)


def test_the_histogram_sums_to_the_speed_of_what_moves() -> None:
    frames = moving(8)
    grid = Grid((2, 8, 8), (2, 8, 8))
    found = build(FlowSpec(kind="flow"), grid, frames)(frames).astype(np.float64)
    speed, bins, still = found[..., 2], found[..., 7:15].sum(axis=-1), found[..., 15]
    slow = speed - bins
    assert (slow >= -1e-5).all()
    assert (slow <= 0.1 * still + 1e-5).all()
    assert still.min() == 0.0
    assert still.max() > 0.5


def test_zoom_has_divergence_and_turning_has_curl() -> None:
    picture = texture(96, 96, sigma=3.0)

    def warped(turn: float, scale: float) -> FrameArray:
        matrix = cv2.getRotationMatrix2D((47.5, 47.5), turn, scale)
        return np.stack([picture, cv2.warpAffine(picture, matrix, (96, 96), borderMode=cv2.BORDER_REFLECT)])

    grid = Grid((1, 32, 32), (1, 32, 32), (0, 32, 32))
    nearer, turned = warped(0, 1.03), warped(-2, 1.0)  # positive angles of OpenCV turn the other way
    extractor = build(FlowSpec(kind="flow", preset="medium"), grid, nearer)
    assert extractor(nearer)[0, 0, 0, 5:7] == pytest.approx([0.06, 0], abs=0.015)
    assert extractor(turned)[0, 0, 0, 5:7] == pytest.approx([0, 2 * math.radians(2)], abs=0.015)


def test_a_still_picture_does_not_move() -> None:
    frames = np.stack([texture(64, 64)] * 4)
    found = build(FlowSpec(kind="flow"), Grid((3, 32, 32), (3, 32, 32)), frames)(frames)
    np.testing.assert_array_equal(found[..., :15], 0)
    np.testing.assert_array_equal(found[..., 15], 1)


SPECS = [
    *(features.FEATURES.entry(kind) for kind in ("edges", "corners", "hog", "color", "flow", "motion")),
    FlowSpec(kind="flow", preset="ultrafast"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}{getattr(spec, 'preset', '')}")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("size", [(72, 88), (96, 104)])
def test_rows_are_the_same_bytes_however_frames_are_split(spec: Any, grid: Grid, size: tuple[int, int]) -> None:
    frames = moving(12, size=size)
    extractor = build(spec, grid, frames)
    before, after = extractor.context_frames
    assert after == 0
    size, stride = extractor.time_size, extractor.time_stride
    rows = (len(frames) - before - size) // stride + 1
    whole = extractor(frames[: before + (rows - 1) * stride + size])
    assert len(whole) == rows >= 2
    for cut in range(1, rows):
        first = extractor(frames[: before + (cut - 1) * stride + size])
        second = build(spec, grid, frames)(frames[cut * stride : before + (rows - 1) * stride + size])
        assert np.concatenate([first, second]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("spec", [*SPECS[:6], HfSpec(kind="hf", path="/none", every=3)], ids=lambda spec: spec.kind)
def test_centres_are_those_of_cells(spec: Any, models: dict[str, Path]) -> None:
    grid = Grid((4, 32, 16), (2, 16, 16))
    if isinstance(spec, HfSpec):
        spec = HfSpec(kind="hf", path=str(models["vit"]), every=3)
    extractor = features.build(spec, patches=grid, frame_size=(96, 48))
    assert isinstance(extractor, Extractor)
    if isinstance(spec, HfSpec):  # 4 x 4 tokens over the whole frame
        assert extractor.centres == ((12.0, 36.0, 60.0, 84.0), (6.0, 18.0, 30.0, 42.0))
        assert (extractor.time_size, extractor.time_stride) == (1, 3)
    else:
        assert extractor.centres == ((16.0, 32.0, 48.0, 64.0, 80.0), (8.0, 24.0, 40.0))
        assert (extractor.time_size, extractor.time_stride) == (4, 2)


TRY_SIZES = """
import sys
import numpy as np
from patchlake.tasks import features
from patchlake.tasks.unit import worker_setup
from patchlake.tasks.features.flow import FlowSpec
from patchlake.tasks.grid import Grid
for preset in ("ultrafast", "fast", "medium"):
    for size in ((12, 12), (12, 48), (16, 200), (24, 320), (31, 100), (200, 16), (32, 32), (33, 400)):
        extractor = features.build(
            FlowSpec(kind="flow", preset=preset), patches=Grid((1, 4, 4), (1, 4, 4)), frame_size=size
        )
        frames = np.random.default_rng(0).integers(0, 255, (3, *size, 3), dtype=np.uint8)
        found = extractor(frames)
        assert found.shape == (2, size[0] // 4, size[1] // 4, 16) and np.isfinite(found).all(), size
"""


def test_flow_of_small_and_of_flat_frames_does_not_crash() -> None:
    tried = subprocess.run([sys.executable, "-c", TRY_SIZES], capture_output=True, text=True, timeout=120)
    assert tried.returncode == 0, tried.stderr


@pytest.mark.parametrize("size", [(8, 8), (4, 200), (200, 11)])
def test_frames_too_small_for_flow_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(RecipeError, match=r"frames\.size.*12"):
        features.build(FlowSpec(kind="flow"), patches=Grid((1, 4, 4), (1, 4, 4)), frame_size=size)


# hf: models made here, of a few thousand weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save one small model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    made: dict[str, Any] = {
        "vit": transformers.ViTModel(transformers.ViTConfig(**small, intermediate_size=32)),
        "dinov2": transformers.Dinov2Model(transformers.Dinov2Config(**small, mlp_ratio=2)),
        "registers": transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**small, mlp_ratio=2, num_register_tokens=3)
        ),
        "resnet": transformers.ResNetModel(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], layer_type="basic"
            )
        ),
    }
    for name, model in made.items():
        model.save_pretrained(folder / name)
    made["vit"].half().save_pretrained(folder / "half")
    return {path.name: path for path in folder.iterdir()}


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def hidden_states(folder: Path, frames: FrameArray, *, size: tuple[int, int] | None = (32, 32)) -> Floats:
    """Return last hidden states of each frame alone, resized by Pillow where it has another size."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    out = []
    for frame in frames:
        planes = [Image.fromarray(frame[..., c].astype(np.float32)) for c in range(3)]
        if size:
            planes = [plane.resize(size[::-1], Image.Resampling.BILINEAR) for plane in planes]
        pixels = (np.stack([np.asarray(p) for p in planes], axis=-1) / 255 - MEAN) / STD
        with torch.no_grad():
            x = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
            out.append(model(pixel_values=x).last_hidden_state[0].numpy())
    return np.stack(out).astype(np.float64)


@pytest.mark.parametrize(("name", "extra"), [("vit", 1), ("dinov2", 1), ("registers", 4), ("half", 1)])
@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
def test_tokens_lie_where_their_patches_do(
    models: dict[str, Path], name: str, extra: int, size: tuple[int, int]
) -> None:
    frames = np.stack([texture(*size, seed=i) for i in range(3)])
    spec = HfSpec(kind="hf", path=str(models[name]), name="m", dtype="float32", device="cpu")
    extractor = build(spec, GRIDS[0], frames)
    found = extractor(frames)
    assert found.shape == (3, 4, 4, 16)
    assert found.dtype == np.float32
    assert extractor.channels == tuple(f"token_{i}" for i in range(16))
    expected = hidden_states(models[name], frames)[:, extra:].reshape(3, 4, 4, 16)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_maps_of_convolutional_networks_are_tokens_of_frames_as_they_are(
    models: dict[str, Path], size: tuple[int, int]
) -> None:
    frames = np.stack([texture(*size, seed=i) for i in range(2)])
    spec = HfSpec(kind="hf", path=str(models["resnet"]), dtype="float32", device="cpu")
    extractor = build(spec, GRIDS[0], frames)
    expected = hidden_states(models["resnet"], frames, size=None).transpose(0, 2, 3, 1)
    assert expected.shape == (2, size[0] // 32, size[1] // 32, 24)
    np.testing.assert_allclose(extractor(frames), expected, atol=1e-4)
    assert extractor.centres[1] == tuple(0.5 + 32 * i for i in range(size[1] // 32)), "in the middle of what it sees"


@pytest.mark.parametrize("name", ["vit", "registers", "resnet"])
def test_tokens_do_not_depend_on_batches_or_calls(models: dict[str, Path], name: str) -> None:
    frames = np.stack([texture(32, 32, seed=i) for i in range(9)])

    def tokens(frames: FrameArray, **options: Any) -> npt.NDArray[Any]:
        spec = HfSpec(kind="hf", path=str(models[name]), device="cpu", **options)
        found: npt.NDArray[Any] = build(spec, GRIDS[0], frames)(frames)
        return found

    whole = tokens(frames)
    assert whole.dtype == np.float16
    np.testing.assert_allclose(tokens(frames, batch=2).astype(float), whole, atol=2e-3)
    parts = np.concatenate([tokens(frames[:4]), tokens(frames[4:])])
    np.testing.assert_allclose(parts.astype(float), whole, atol=2e-3)
    every = tokens(frames, every=4)
    assert len(every) == 3
    np.testing.assert_allclose(every.astype(float), whole[::4], atol=2e-3)


def test_normalisation_is_the_model_s_own(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    transformers.AutoModel.from_pretrained(models["vit"]).save_pretrained(folder)
    spec = HfSpec(kind="hf", path=str(folder), dtype="float32", device="cpu")
    frames = texture(32, 32)[None]
    plain = build(spec, GRIDS[0], frames)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1]}')
    own = build(spec, GRIDS[0], frames)
    assert own.digest_parts != plain.digest_parts
    model = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = (frames[0] / 255 - 0.5) / np.array([0.25, 0.5, 1])
    with torch.no_grad():
        x = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
        expected = model(pixel_values=x).last_hidden_state[0, 1:].numpy()
    np.testing.assert_allclose(own(frames).reshape(16, 16), expected, atol=1e-4)


def test_a_model_s_digest_is_that_of_its_content(models: dict[str, Path], tmp_path: Path) -> None:
    def digest(folder: Path) -> Any:
        return features.build(HfSpec(kind="hf", path=str(folder)), patches=GRIDS[0], frame_size=(32, 32)).digest_parts[
            "model"
        ]

    model = transformers.AutoModel.from_pretrained(models["vit"])
    model.save_pretrained(tmp_path / "copy")
    assert digest(tmp_path / "copy") == digest(models["vit"])
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    model.save_pretrained(tmp_path / "other")
    assert digest(tmp_path / "other") != digest(models["vit"])


def test_models_that_can_not_be_used_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    def use(folder: Path, frames: FrameArray = texture(32, 32)[None]) -> None:  # noqa: B008
        build(HfSpec(kind="hf", path=str(folder), name="m", device="cpu"), GRIDS[0], frames)(frames)

    with pytest.raises(ModelError, match=r"features\.m\.path: .*nowhere.*config\.json"):
        use(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((models["vit"] / "config.json").read_text())
    with pytest.raises(ModelError, match=r"no weights"):
        use(tmp_path / "bare")
    text = transformers.BertModel(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
        )
    )
    text.save_pretrained(tmp_path / "text")
    with pytest.raises(ModelError, match=r"features\.m\.path: .*vision backbone"):
        use(tmp_path / "text")
    whole = transformers.AutoModel.from_pretrained(models["vit"])
    weights = {
        name: value for name, value in whole.state_dict().items() if "layer.1." not in name and "layers.1." not in name
    }
    assert len(weights) < len(whole.state_dict())
    whole.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ModelError, match=r"weights are missing"):
        use(tmp_path / "part")


def test_a_model_is_loaded_at_the_first_call_only(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    real = transformers.AutoModel.from_pretrained
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", lambda *a, **k: loads.append(a) or real(*a, **k))
    frames = texture(32, 32)[None]
    extractor = build(HfSpec(kind="hf", path=str(models["vit"]), device="cpu"), GRIDS[0], frames)
    assert loads == []
    extractor(frames)
    extractor(frames)
    assert len(loads) == 1


def test_entries_are_checked_and_named() -> None:
    assert EdgesSpec(kind="edges").name == "edges"
    assert HfSpec(kind="hf", path="a/model-b/").name == "model-b"
    assert [s.time_stride for s in (EdgesSpec(kind="edges"), HfSpec(kind="hf", path="p", every=5))] == [0, 5]
    with pytest.raises(ValidationError):
        FlowSpec(kind="flow", preset="slow")
    with pytest.raises(ValidationError):
        EdgesSpec(kind="edges", name="a b")
    with pytest.raises(TypeError, match="expected an entry"):
        features.build("edges", patches=GRIDS[0], frame_size=(32, 32))
