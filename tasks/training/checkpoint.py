"""Files that outlive a rank: a checkpoint after each epoch, the model at the end; each written atomically."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import torch

from patchlake.tasks import failpoints
from patchlake.tasks.storage.location import Location


def save(folder: Location, name: str, state: Any) -> None:
    """Write a torch file atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    folder.put(name, buffer.getvalue())


def load(folder: Location, name: str, digest: str) -> dict[str, Any] | None:
    """Return a checkpoint's state (on the CPU), or None if there is none or it is another job's."""
    data = folder.get(name)
    if data is None:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state if state["digest"] == digest and "figures" in state else None  # an older format has none


def save_model(folder: Location, weights: dict[str, Any], card: dict[str, Any]) -> None:
    """Write `model.pt` (a state_dict) and `model.json` (what is needed to use it)."""
    save(folder, "model.pt", weights)
    failpoints.reach("model_written")
    folder.put("model.json", json.dumps(card, indent=1).encode())


def weights_digest(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a state_dict's names and bytes."""
    hasher = hashlib.sha256()
    for name, value in weights.items():
        hasher.update(name.encode())
        hasher.update(value.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()
