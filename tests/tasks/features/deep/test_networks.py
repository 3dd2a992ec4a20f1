"""Networks come from files of several kinds, and those that can't be used say why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from small_networks import (
    Maps,
    build,
    close,
    export,
    noise,
    prepared,
    save_all,
    spec,
    trained,
    windows,
)
from torch import nn

from patchlake.tasks.errors import ModelError, PatchlakeError, RecipeError
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec
from patchlake.tasks.recipe import parse


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one small model of each kind."""
    return save_all(tmp_path_factory.mktemp("deep"))


@pytest.mark.parametrize("fixed", [False, True])
def test_exported_networks_are_run_as_they_were(tmp_path: Path, fixed: bool) -> None:
    torch.manual_seed(1)
    frames, model = noise(7), Maps(2)
    path = export(tmp_path / "net.pt2", model, (4, 3, 32, 32), fixed=fixed)
    extractor = build(HfSpec(kind="hf", path=path, dtype="float32", device="cpu"))
    with torch.no_grad():
        expected = model(prepared(frames)).permute(0, 2, 3, 1).numpy()
    close(extractor(frames), expected)
    assert extractor.centres == (tuple(0.5 + 4 * i for i in range(8)),) * 2
    assert extractor.attrs["batch"] == (4 if fixed else "auto")
    close(build(HfSpec(kind="hf", path=path, pool="clip", dtype="float32", device="cpu"))(frames),
          expected.mean((1, 2), keepdims=True))  # fmt: skip
    (tmp_path / "copy.pt2").write_bytes(Path(path).read_bytes())
    copy = build(HfSpec(kind="hf", path=str(tmp_path / "copy.pt2"), dtype="float32", device="cpu"))
    assert copy.digest_parts == extractor.digest_parts


def test_exported_clip_networks_and_vectors(tmp_path: Path) -> None:
    torch.manual_seed(2)
    frames, model = noise(18), Maps(3)
    path = export(tmp_path / "net.pt2", model, (2, 8, 3, 32, 32))
    extractor = build(HfClipSpec(kind="hf_clip", path=path, every=8, dtype="float32", device="cpu"))
    with torch.no_grad():
        expected = model(windows(frames, range(0, 16, 8), length=8)).permute(0, 2, 3, 4, 1).reshape(4, 8, 8, 6).numpy()
    close(extractor(frames), expected)
    assert (extractor.time_size, extractor.time_stride, extractor.context_frames) == (1, 4, (0, 3))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))

    class Vectors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat = flat

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.flat(x)

    path = export(tmp_path / "vectors.pt2", Vectors(), (2, 3, 32, 32))
    entry = HfSpec(kind="hf", path=path, mean=(0, 0, 0), std=(1, 1, 1), dtype="float32", device="cpu")
    vectors = build(entry, (40, 60))
    with torch.no_grad():
        x = prepared(frames[:3].repeat(2, axis=1)[:, :40], (32, 32), {"mean": (0.0,) * 3, "std": (1.0,) * 3})
    assert vectors.centres == ((20.0,), (30.0,))
    assert vectors(noise(3, 40, 60)).shape == (3, 1, 1, 7)
    assert x.shape == (3, 3, 32, 32)


def test_models_trained_by_this_project_give_the_maps_before_their_head(tmp_path: Path) -> None:
    model, frames = trained(tmp_path / "st", "st_cnn", 8, step=2), noise(34, 32, 48)
    entry = HfClipSpec(kind="hf_clip", path=str(tmp_path / "st"), every=16, dtype="float32", device="cpu")
    extractor = build(entry, (32, 48))
    x = (torch.from_numpy(frames).permute(3, 0, 1, 2).float() - 127.5) / 64
    x_BCTHW = torch.stack([x[:, s : s + 15 : 2] for s in (0, 16)])
    with torch.no_grad():
        change = 2 * (x_BCTHW - x_BCTHW.mean(dim=2, keepdim=True))
        maps = model.stages(model.stem(change)).permute(0, 2, 3, 4, 1).numpy()
    close(extractor(frames), maps.reshape(-1, *maps.shape[2:]))
    assert maps.shape[1:] == (2, 2, 3, 128)
    assert (extractor.time_size, extractor.time_stride, extractor.context_frames) == (1, 8, (0, 6))
    assert extractor.centres == ((2.0, 18.0), (2.0, 18.0, 34.0))
    vector = build(entry.model_copy(update={"pool": "clip"}), (32, 48))(frames)
    with torch.no_grad():
        logits = nn.functional.linear(torch.from_numpy(vector[:, 0, 0]), model.head.weight, model.head.bias)
        np.testing.assert_allclose(logits, model(x_BCTHW), atol=1e-5)
    picture = trained(tmp_path / "frame", "frame_cnn", 1)
    found = build(HfSpec(kind="hf", path=str(tmp_path / "frame"), dtype="float32", device="cpu"), (32, 48))(frames[:3])
    with torch.no_grad():
        close(found, picture.stages(x[:, :3].transpose(0, 1)).permute(0, 2, 3, 1).numpy())


def test_models_that_can_not_be_used_say_why(saved: Path, tmp_path: Path) -> None:
    def refused(match: str, entry: Any, error: type[PatchlakeError] = ModelError, size: Any = (32, 32)) -> None:
        with pytest.raises(error, match=match):
            build(entry, size)(noise(4, *size))

    refused(
        r"features\.m\.path: .*takes clips; write `kind: hf_clip`",
        HfSpec(kind="hf", name="m", path=str(saved / "videomae")),
    )
    refused("takes single frames; write `kind: hf`", HfClipSpec(kind="hf_clip", path=str(saved / "vit")))
    refused(r"features\.m\.every: got 16, expected 4", spec(saved, "videomae", every=16), RecipeError)
    refused(r"features\.m\.every: got 8, expected 12", spec(saved, "vivit", every=8, step=3), RecipeError)
    refused(r"every: got 1, expected at least 9", spec(saved, "vivit", every=1, step=24, pool="time"), RecipeError)
    refused("only backbones that keep every patch", spec(saved, "vit_mae"))
    refused("takes clips of 6 frames", spec(saved, "videomae", frames=6, every=6))
    (tmp_path / "text.pt2").write_text("no archive")
    refused(r"can't be read: .*torch\.export\.save", spec(tmp_path, "text.pt2"))
    (tmp_path / "weights.bin").write_text("x")
    refused(r"no such folder or file; expected a folder that `save_pretrained`", spec(tmp_path, "weights.bin"))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.json").write_text("{}")
    refused(r"there is no model\.pt in it", spec(tmp_path, "half"))
    (tmp_path / "half" / "model.pt").write_bytes(b"x")
    refused(r"model\.json is not the card", spec(tmp_path, "half"))
    trained(tmp_path / "st", "frame_cnn", 1)
    (tmp_path / "st" / "model.pt").write_bytes(b"x")
    refused(r"model\.pt does not hold the weights of the frame_cnn", spec(tmp_path, "st"), size=(32, 48))
    sequence = nn.Sequential(nn.Flatten(2))
    torch.export.save(torch.export.export(sequence, (torch.zeros(1, 3, 8, 8),)), tmp_path / "sequence.pt2")
    refused(r"output has the shape \(1, 3, 64\).*maps \(B, C, y, x\)", spec(tmp_path, "sequence.pt2"))
    part = transformers.AutoModel.from_pretrained(saved / "siglip")
    state = {k: v for k, v in part.state_dict().items() if ".head." not in k}
    part.save_pretrained(tmp_path / "headless", state_dict=state)
    headless = build(spec(tmp_path, "headless", pool="clip"))
    assert "the mean of all tokens" in headless.attrs["pooling"], "a pooler whose weights are missing is not used"
    assert headless(noise(2)).shape == (2, 1, 1, 16)


def test_entries_are_checked(tmp_path: Path) -> None:
    def entry(**options: Any) -> Any:
        base = {"name": "x", "lake": "lake", "corpus": {"videos": "v"}, "patches": {"size": [4, 32, 32]}}
        return parse({**base, "features": [options]}, base=tmp_path)

    recipe = entry(kind="hf", path="m", every=32)
    assert recipe.layout.align == 32
    assert entry(kind="hf", path="m", crops={"size": [16, 8, 8]}).layout.align == 16
    assert entry(kind="hf_clip", path="m", crops="patches").layout.align == 8
    assert entry(kind="hf_clip", path="m", every=64).layout.align == 64
    for match, options in (
        (r"features\[0\].*pool: got none with crops", {"kind": "hf", "crops": "patches", "pool": "none"}),
        (r"features\[0\].*every: got one with crops", {"kind": "hf_clip", "crops": "patches", "every": 4}),
        (r"features\[0\].crops.*stride: got one without a size", {"kind": "hf", "crops": {"stride": [1, 1, 1]}}),
        (r"features\[0\]\.pool", {"kind": "hf", "pool": "time"}),
        (r"features\.m\.every: got 24, expected", {"kind": "hf_clip", "every": 24}),
        (r"features\[0\]\.crops\.sizes: unknown key", {"kind": "hf", "crops": {"sizes": [1, 1, 1]}}),
        (r"features\[0\].*step: got one with crops", {"kind": "hf_clip", "crops": "patches", "step": 2}),
        (r"sizes: .*did you mean size\? expected one of: size, stride", {"kind": "hf", "crops": {"sizes": [1, 1, 1]}}),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=match):
            entry(**{"name": "m", "path": "m", **options})


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; the tests above are its twin on the CPU"
)
@pytest.mark.parametrize("name", ["vit", "resnet", "videomae", "net.pt2"])
def test_a_gpu_gives_what_a_cpu_gives(saved: Path, tmp_path: Path, name: str) -> None:
    if name.endswith(".pt2"):
        export(tmp_path / name, Maps(2), (4, 3, 32, 32))
    frames, folder = noise(40), tmp_path if name.endswith(".pt2") else saved
    cpu = build(spec(folder, name))(frames)
    np.testing.assert_allclose(build(spec(folder, name, device="cuda"))(frames), cpu, atol=1e-4)
    lower = build(spec(folder, name, device="cuda", compute="bfloat16", batch=3))(frames)
    assert np.abs(lower - cpu).mean() < 0.1 * np.abs(cpu).mean() + 1e-3
