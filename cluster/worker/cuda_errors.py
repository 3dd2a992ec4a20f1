"""CUDA errors after which a process can't use its GPU any more: the worker ends, another is started in its place."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

_TYPES = {"AcceleratorError", "CudaError"}
"""torch's classes by name: torch is not imported here, since a worker may never run a model."""
_WORDS = ("cuda error", "cudnn error", "cudnn_status_", "cublas_status_", "device-side assert")
_MEMORY = ("out of memory", "alloc_failed")
"""After these the device still works."""
_SETTINGS = (
    "no cuda-capable device", "driver version is insufficient", "no kernel image", "invalid device", "not supported",
    "not initialized", "not permitted",
)  # fmt: skip
"""Every worker would meet these: they end the run with their message."""


def is_lost(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came from, is a lasting CUDA error: this process has lost its GPU.

    Source: the CUDA runtime's errors that "leave the process in an inconsistent state" (cudaError_t in its reference).
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = str(error).lower()
        is_cuda = bool(_TYPES & {kind.__name__ for kind in type(error).__mro__})
        is_cuda = is_cuda or (isinstance(error, RuntimeError) and any(word in text for word in _WORDS))
        if is_cuda and not any(word in text for word in (*_MEMORY, *_SETTINGS)):
            return True
        error = error.__cause__ or error.__context__
    return False


def end_worker(trace: str) -> NoReturn:
    """End this process like a crash, so that its task is tried on another worker; its log says why."""
    print(f"patchlake: this worker's GPU can't be used any more, another is started:\n{trace}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)
