"""Small pretrained networks in the real formats, and what they give by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import nn
from torch.nn.functional import interpolate

from patchlake.tasks import features, models
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.features.extractor import Extractor
from patchlake.tasks.grid import Grid
from patchlake.tasks.objectives.heads import MeanLinear
from patchlake.tasks.storage.location import Location
from patchlake.tasks.training import checkpoint
from patchlake.tasks.types import FrameArray

Array = npt.NDArray[Any]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
PATCHES = Grid((4, 16, 16), (4, 16, 16))
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def make(name: str) -> Any:
    """Return a small model with random weights."""
    wide = {**SMALL, "intermediate_size": 32}
    tubelets = {k: v for k, v in wide.items() if k != "patch_size"}
    kinds: dict[str, Any] = {
        "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**wide)),
        "dinov2": lambda: transformers.Dinov2Model(
            transformers.Dinov2Config(**{**SMALL, "image_size": 64}, mlp_ratio=2)
        ),
        "swin": lambda: transformers.SwinModel(
            transformers.SwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=2)
        ),
        "clip": lambda: transformers.CLIPModel(
            transformers.CLIPConfig(text_config=TEXT, vision_config=wide, projection_dim=8)
        ),
        "clip_vision": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**wide)),
        "siglip": lambda: transformers.SiglipModel(transformers.SiglipConfig(text_config=TEXT, vision_config=wide)),
        "vit_mae": lambda: transformers.ViTMAEModel(transformers.ViTMAEConfig(**wide)),
        "resnet": lambda: transformers.ResNetModel(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], layer_type="basic"
            )
        ),
        "mobilenet": lambda: transformers.MobileNetV2Model(
            transformers.MobileNetV2Config(image_size=64, depth_multiplier=0.25, finegrained_output=False)
        ),
        "convnext": lambda: transformers.ConvNextModel(
            transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], image_size=64)
        ),
        "videomae": lambda: transformers.VideoMAEModel(transformers.VideoMAEConfig(**wide, num_frames=4)),
        "timesformer": lambda: transformers.TimesformerModel(transformers.TimesformerConfig(**wide, num_frames=4)),
        "vivit": lambda: transformers.VivitModel(
            transformers.VivitConfig(**tubelets, num_frames=4, tubelet_size=[2, 8, 8])
        ),
        "vjepa2": lambda: transformers.VJEPA2Model(
            transformers.VJEPA2Config(
                hidden_size=24, num_hidden_layers=2, num_attention_heads=2, crop_size=32, patch_size=8,
                frames_per_clip=4, mlp_ratio=2, pred_hidden_size=24, pred_num_attention_heads=2,
                pred_num_hidden_layers=1,
            )
        ),
    }  # fmt: skip
    return kinds[name]()


IMAGE = ["vit", "dinov2", "swin", "clip", "clip_vision", "siglip", "resnet", "mobilenet", "convnext"]
CLIP = ["videomae", "timesformer", "vivit", "vjepa2"]
TUBELET = {"videomae": 2, "timesformer": 1, "vivit": 2, "vjepa2": 2}


def noise(num_frames: int, height: int = 32, width: int = 32) -> FrameArray:
    return np.random.default_rng(num_frames).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def spec(saved: Path, name: str, **options: Any) -> HfSpec | HfClipSpec:
    base = {"path": str(saved / name), "name": "m", "dtype": "float32", "device": "cpu"}
    if name in CLIP:
        return HfClipSpec(**{"kind": "hf_clip", "every": 4, **base, **options})
    return HfSpec(**{"kind": "hf", **base, **options})


def build(entry: Any, size: tuple[int, int] = (32, 32), patches: Grid = PATCHES) -> Extractor:
    return features.build(entry, patches=patches, frame_size=size)


def prepared(frames: Array, size: tuple[int, int] | None = None, norm: Any = IMAGENET) -> torch.Tensor:
    """Return (n, 3, y, x) as a processor would: in [0, 1], resized, normalised."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    if size and tuple(x.shape[-2:]) != size:
        x = interpolate(x, size, mode="bilinear", antialias=True)
    return (x - torch.tensor(norm["mean"]).view(3, 1, 1)) / torch.tensor(norm["std"]).view(3, 1, 1)


def by_hand(saved: Path, name: str, x: torch.Tensor) -> Any:
    """Return the model's own answer, each input on its own."""
    model = transformers.AutoModel.from_pretrained(saved / name).eval()
    model = getattr(model, "vision_model", model)
    with torch.no_grad():
        found = [model(item[None]) for item in x]
    pooled = getattr(found[0], "pooler_output", None)
    return (
        torch.cat([f.last_hidden_state for f in found]).numpy(),
        None if pooled is None else torch.cat([f.pooler_output.flatten(1) for f in found]).numpy(),
    )


def close(found: Array, expected: Array) -> None:
    """Hold to the bar: 1e-5 of float32, for numbers of the size of one."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def windows(frames: FrameArray, starts: range, *, length: int = 4, step: int = 1) -> torch.Tensor:
    """Return prepared clips (n, T, 3, y, x)."""
    x = prepared(frames)
    return torch.stack([x[s : s + length * step : step] for s in starts])


def grid_of(name: str, hidden: Array) -> Array:
    """Return (n, t, y, x, c) of token sequences, by each architecture's own order."""
    t, n = 4 // TUBELET[name], len(hidden)
    tokens = hidden[:, hidden.shape[1] - t * 16 :]
    if name == "timesformer":
        return tokens.reshape(n, 4, 4, t, -1).transpose(0, 3, 1, 2, 4)
    return tokens.reshape(n, t, 4, 4, -1)


class Maps(nn.Module):
    """Two strided convolutions, over pictures or clips."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.stages = nn.Sequential(kind(3, 5, 3, stride=2, padding=1), nn.ReLU(), kind(5, 6, 3, stride=2, padding=1))
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(x if self.axes == 2 else x.transpose(1, 2))


def export(path: Path, model: nn.Module, shape: tuple[int, ...], *, fixed: bool = False) -> str:
    dynamic = None if fixed else {"x": {0: torch.export.Dim("b", min=1, max=512)}}
    program = torch.export.export(model.eval(), (torch.zeros(shape),), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    return str(path)


def trained(folder: Path, name: str, frames: int, *, step: int = 1) -> Any:
    """Save a model as the training does; return it."""
    torch.manual_seed(3)
    model = models.build(name)
    model.head = MeanLinear(model.num_channels, 5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    card = {
        "architecture": name, "variant": name, "classes": list("abcde"), "channels": 3, "window_frames": frames,
        "window_stride": step, "size": [32, 48], "normalisation": {"mean": 127.5, "scale": 64.0},
    }  # fmt: skip
    checkpoint.save_model(Location(str(folder)), model.state_dict(), card)
    return model.eval()


def save_all(folder: Path) -> Path:
    """Save one small model of each kind in one folder."""
    torch.manual_seed(0)
    for name in (*IMAGE, *CLIP, "vit_mae"):
        model = make(name)
        for module in model.modules():  # running figures as a trained network has them
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        model.save_pretrained(folder / name)
    return folder
