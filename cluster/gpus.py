"""Which GPUs this machine has, found without importing torch, which takes seconds."""

from __future__ import annotations

import glob
import importlib.metadata
import os


def visible_gpus() -> list[str]:
    """List this machine's NVIDIA GPUs; CUDA_VISIBLE_DEVICES overrides what is found."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu.strip() for gpu in given.split(",") if gpu.strip() not in ("", "-1")]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def torch_uses_cuda() -> bool:
    """Tell from its version whether torch, if installed, is built for CUDA."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
