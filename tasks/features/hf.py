"""`hf`: dense tokens of any pretrained transformers vision backbone, whole frames, on the tokens' own grid."""

from __future__ import annotations

import hashlib
import json
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import ModelError
from patchlake.tasks.features.spec import HfSpec
from patchlake.tasks.types import FrameArray

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_UNUSED = ("pooler", "vision_model.head", "logit_")
"""Weights that dense tokens do not pass through; a checkpoint may lack them."""


class HuggingFace:
    """Last hidden states of a vision backbone as a (y, x) grid over the frame, one row every `every` frames.

    Frames are resized to the model's input size (bilinear, antialiased), scaled to [0, 1] and normalised by the
    model's preprocessor_config.json (ImageNet's mean and deviation where it has none). Class and register tokens, which
    have no place in the frame, are left out. Weights come from a local folder or the hub's
    cache; they are never made up.

    Source: transformers AutoModel, `last_hidden_state` (the maps of the last stage for convolutional networks).
    """

    version = 1
    context_frames = (0, 0)
    time_size = 1

    def __init__(self, spec: HfSpec, frame_size: tuple[int, int]) -> None:
        self._spec = spec
        self._folder = _folder_of(spec)
        config = _json(self._folder / "config.json")
        vision = config.get("vision_config", config)
        self._input = _input_size(vision, frame_size)
        self._mean, self._std = _normalisation(self._folder)
        rows, columns, width = self._shape()
        self.dtype = spec.dtype
        self.time_stride = spec.every
        self.channels = tuple(f"token_{i}" for i in range(width))
        height, length = frame_size
        self.centres = (
            tuple((i + 0.5) * height / rows for i in range(rows)),
            tuple((i + 0.5) * length / columns for i in range(columns)),
        )
        self.needs_gpu = spec.device == "cuda"
        self.digest_parts: dict[str, Any] = {
            "model": _model_digest(self._folder), "input": list(self._input), "every": spec.every,
            "mean": self._mean, "std": self._std,
        }  # fmt: skip
        self.attrs: dict[str, Any] = {
            "units": "1",
            "model": spec.path,
            "model_digest": self.digest_parts["model"],
            "model_type": str(config.get("model_type")),
            "input_size": list(self._input),
            "pooling": "none: one token per cell",
        }

    def __call__(self, frames: FrameArray) -> npt.NDArray[Any]:
        """Return (rows, y, x, token) for (n, height, width, 3) RGB frames."""
        import torch

        parts = []
        picked = frames[:: self._spec.every]
        for start in range(0, len(picked), self._spec.batch):
            batch = torch.from_numpy(np.ascontiguousarray(picked[start : start + self._spec.batch]))
            parts.append(self._tokens(batch).float().cpu().numpy().astype(self.dtype))
        return np.concatenate(parts)

    def _tokens(self, x_BHWC: Any) -> Any:
        import torch
        from torch.nn.functional import interpolate

        model = self._model
        device = next(model.parameters()).device
        with torch.inference_mode():
            x_BCHW = x_BHWC.to(device).permute(0, 3, 1, 2).float() / 255
            if tuple(x_BCHW.shape[-2:]) != self._input:
                x_BCHW = interpolate(x_BCHW, self._input, mode="bilinear", antialias=True, align_corners=False)
            mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (self._mean, self._std))
            hidden = model(pixel_values=(x_BCHW - mean) / std).last_hidden_state
        return _as_grid(hidden, len(self.centres[0]), len(self.centres[1]))

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModel
        from transformers.utils import logging

        cuda = torch.cuda.is_available() and self._spec.device != "cpu"
        if self._spec.device == "cuda" and not cuda:
            raise ModelError(f"features.{self._spec.name}.device: got cuda, but this worker sees no GPU")
        torch.set_num_threads(1)
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model, info = AutoModel.from_pretrained(
                    self._folder, output_loading_info=True, local_files_only=True, dtype=torch.float32
                )
        except (OSError, ValueError) as error:
            raise ModelError(f"{_where(self._spec)}: the weights can't be loaded: {error}") from error
        missing = [name for name in info["missing_keys"] if not name.startswith(_UNUSED)]
        if missing or info["mismatched_keys"]:
            raise ModelError(
                f"{_where(self._spec)}: {len(missing)} weights are missing from the checkpoint "
                f"({', '.join(sorted(missing)[:3])}, ...); expected a complete model, random weights are never used"
            )
        model = getattr(model, "vision_model", model)
        return model.eval().to("cuda" if cuda else "cpu")

    def _shape(self) -> tuple[int, int, int]:
        """Return (rows, columns, width) of the token grid, from the architecture alone: no weights, no memory."""
        import torch
        from transformers import AutoConfig, AutoModel

        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                config = AutoConfig.from_pretrained(self._folder, local_files_only=True)
                model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
            model = getattr(model, "vision_model", model).eval()
            with torch.inference_mode():
                hidden = model(pixel_values=torch.empty(1, 3, *self._input, device="meta")).last_hidden_state
        except Exception as error:
            raise ModelError(
                f"{_where(self._spec)}: expected a vision backbone that takes frames of {self._input}: {error}"
            ) from error
        if hidden.ndim == 4:
            return hidden.shape[2], hidden.shape[3], hidden.shape[1]
        patch = model.config.patch_size
        rows, columns = self._input[0] // patch, self._input[1] // patch
        return rows, columns, hidden.shape[2]


def _as_grid(hidden: Any, rows: int, columns: int) -> Any:
    """Return (batch, y, x, channel): maps as they are, token sequences without those that come before the grid."""
    if hidden.ndim == 4:
        return hidden.permute(0, 2, 3, 1)
    return hidden[:, -rows * columns :].reshape(len(hidden), rows, columns, -1)


def _folder_of(spec: HfSpec) -> Path:
    """Return the folder with the model's files: the given one, or the hub's snapshot (fetched once)."""
    if spec.path.startswith("/"):
        folder = Path(spec.path)
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{_where(spec)}: there is no config.json in it; expected a folder that `save_pretrained` or "
                "`hf download MODEL --local-dir FOLDER` has made"
            )
        return folder
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        return Path(snapshot_download(spec.path, allow_patterns=patterns))
    except Exception as error:
        raise ModelError(
            f"{_where(spec)}: is no local folder, and the hub can't be reached or has no such model "
            f"({type(error).__name__}); where there is a network run `hf download {spec.path} --local-dir FOLDER` "
            "and give the folder as path"
        ) from error


def _where(spec: HfSpec) -> str:
    return f"features.{spec.name}.path: {spec.path}"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected a JSON file of a saved model: {error}") from error
    return dict(found)


def _input_size(config: dict[str, Any], frame_size: tuple[int, int]) -> tuple[int, int]:
    """Return the height, width that the network takes; one that takes any size gets frames as they are."""
    size = config.get("image_size")
    if isinstance(size, int):
        return (size, size)
    return (int(size[0]), int(size[1])) if size else frame_size


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    config = _json(path) if path.is_file() else {}
    return (tuple(config.get("image_mean", _IMAGENET[0])), tuple(config.get("image_std", _IMAGENET[1])))


def _model_digest(folder: Path) -> str:
    """Return a hash of everything that the network's output depends on: its files, by name and content."""
    total = hashlib.sha256()
    files = sorted([folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")])
    if len(files) < 2:
        raise ModelError(f"{folder}: there are no weights (*.safetensors); expected a saved model")
    for file in files:
        with file.open("rb") as data:
            total.update(f"{file.name} {hashlib.file_digest(data, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:32]
