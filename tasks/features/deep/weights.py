"""Where a deep feature's model comes from (a folder, a file, a lake of this project, or the hub), and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from patchlake.tasks.errors import ModelError
from patchlake.tasks.storage.location import Location

Kind = Literal["transformers", "exported", "trained"]
EXPORTED = ".pt2"
CARD, STATE = "model.json", "model.pt"
_EXPECTED = (
    "expected a folder that `save_pretrained` or `hf download MODEL --local-dir FOLDER` has made (config.json and "
    f"*.safetensors), a file that torch.export.save has made (*{EXPORTED}), or a folder with the {CARD} and {STATE} "
    "of a model that patchlake trained"
)
_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model on disk; nothing of it is in memory."""

    where: str
    """The recipe's key and its value, for errors."""
    kind: Kind
    path: str
    """The folder or file; a trained model may be in a bucket."""
    digest: str
    """First 32 hex digits of a SHA-256 over the files' names and content."""

    @property
    def folder(self) -> Path:
        """The local folder or file."""
        return Path(self.path)

    def error(self, text: str) -> ModelError:
        """Return an error that names the recipe's key and the model."""
        return ModelError(f"{self.where}: {text}")

    @property
    def config(self) -> dict[str, Any]:
        """Content of a transformers model's config.json."""
        return _json(self.folder / "config.json")

    @property
    def processor(self) -> dict[str, Any]:
        """Config of the image or video processor saved with a transformers model; empty if there is none."""
        for name in _PROCESSORS:
            if (self.folder / name).is_file():
                found = _json(self.folder / name)
                return dict(found.get("video_processor") or found.get("image_processor") or found)
        return {}

    def names(self) -> set[str]:
        """Return the names of the tensors in a transformers folder."""
        from safetensors import safe_open

        found: set[str] = set()
        for file in self.folder.glob("*.safetensors"):
            with safe_open(str(file), framework="pt") as tensors:
                found.update(tensors.keys())
        return found


def find(name: str, path: str) -> Weights:
    """Return the model that `features.NAME.path` means; its kind is recognised from the files.

    Raises ModelError if there is no such model, saying what was expected.
    """
    where = f"features.{name}.path: {path}"
    if path.startswith("s3://") or (Path(path).is_absolute() and (Path(path) / CARD).is_file()):
        card, state = (Location(path).get(file) for file in (CARD, STATE))
        if card is None or state is None:
            raise ModelError(f"{where}: there is no {STATE if card else CARD} in it; {_EXPECTED}")
        return Weights(where=where, kind="trained", path=path, digest=_digest([(CARD, card), (STATE, state)]))
    if not Path(path).is_absolute():
        path = str(_from_hub(where, path))
    file = Path(path)
    if file.is_file() and file.suffix == EXPORTED:
        digest = _digest([("model" + EXPORTED, file.read_bytes())])
        return Weights(where=where, kind="exported", path=path, digest=digest)
    if not (file / "config.json").is_file():
        what = "there is no config.json in it" if file.is_dir() else "it is no such folder or file"
        raise ModelError(f"{where}: {what}; {_EXPECTED}")
    files = sorted([file / "config.json", *file.glob("*.safetensors"), *file.glob("*.safetensors.index.json")])
    if len(files) < 2:
        raise ModelError(f"{where}: there are no weights (*.safetensors) in it; {_EXPECTED}")
    return Weights(where=where, kind="transformers", path=path, digest=_digest((f.name, f) for f in files))


def _from_hub(where: str, name: str) -> Path:
    """Return the hub's snapshot of a model, downloaded once."""
    from huggingface_hub import snapshot_download

    patterns = ["config.json", *_PROCESSORS, "*.safetensors", "*.safetensors.index.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        raise ModelError(
            f"{where}: is no local folder, and the hub can't be reached or has no such model "
            f"({type(error).__name__}); where there is a network run `hf download {name} --local-dir FOLDER` "
            "and give the folder as path"
        ) from error


def _digest(files: Iterable[tuple[str, bytes | Path]]) -> str:
    total = hashlib.sha256()
    for name, content in files:
        if isinstance(content, Path):
            with content.open("rb") as data:
                digest = hashlib.file_digest(data, "sha256").hexdigest()
        else:
            digest = hashlib.sha256(content).hexdigest()
        total.update(f"{name} {digest}\n".encode())
    return total.hexdigest()[:32]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected a JSON file of a saved model: {error}") from error
    return dict(found)
