"""How many inputs go through a network at once: found by trying, fewer if memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import ModelError

BatchFunction = Callable[[int, int, int], npt.NDArray[Any]]
"""(start, stop, size) -> results of items [start, stop), computed in a batch of `size`."""
_SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""Messages of the allocators of CUDA, the CPU and cuBLAS; torch.OutOfMemoryError is a RuntimeError, too."""


class Batches:
    """Runs items a batch at a time.

    The batch size doubles after each full batch up to `most`; when memory runs out it is halved, the items are run
    again, and it never grows again. Items keep their order. If the size can't grow (`first` = `most`) every batch has
    the same size: kernels round differently for different shapes, and an item's bytes must not depend on how many
    other items are in its batch.
    """

    def __init__(self, *, first: int, most: int, what: str, release: Callable[[], None] = lambda: None) -> None:
        """`release` returns freed memory to the device before the next try; `what` begins the error."""
        self.size = first
        self._most = most
        self._is_even = first == most
        self._what = what
        self._release = release

    def __call__(self, count: int, run: BatchFunction) -> list[npt.NDArray[Any]]:
        """Return the results of `run(start, stop, size)` for [0, count), in order; `run` pads its batch to `size`.

        Raises ModelError if memory does not suffice for a single item.
        """
        parts: list[npt.NDArray[Any]] = []
        at = 0
        while at < count:
            size = min(self.size, count - at)
            full = self.size if self._is_even else size
            part = self._tried(run, at, at + size, full)
            if part is None:
                self._release()
                if full == 1:
                    raise ModelError(
                        f"{self._what}: memory does not suffice for one input; expected a smaller `input:`, "
                        "`compute: bfloat16`, a smaller model or a device with more memory"
                    )
                self.size = self._most = full // 2
                continue
            parts.append(part)
            at += size
            if size == self.size:
                self.size = min(2 * size, self._most)
        return parts

    @staticmethod
    def _tried(run: BatchFunction, start: int, stop: int, size: int) -> npt.NDArray[Any] | None:
        """Return the batch's result, or None if memory ran out; the error and what it references are freed by then."""
        try:
            return np.asarray(run(start, stop, size))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS)
