"""What survives a rank: a checkpoint after each epoch, the model at the end. Files appear whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: Any) -> None:
    """Write a torch file under a temporary name, flush it to the disk, and put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path: Path, digest: str) -> dict[str, Any] | None:
    """Return a checkpoint's state (on the CPU), or None when there is none or it is another job's."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    return state if state["digest"] == digest else None


def save_model(folder: Path, weights: dict[str, Any], card: dict[str, Any]) -> None:
    """Write `model.pt` (a state_dict) and `model.json` (what it takes to use it)."""
    save(folder / "model.pt", weights)
    part = folder / "model.json.part"
    part.write_text(json.dumps(card, indent=1))
    os.replace(part, folder / "model.json")


def weights_digest(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a state_dict's names and bytes."""
    hasher = hashlib.sha256()
    for name, value in weights.items():
        hasher.update(name.encode())
        hasher.update(value.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()
