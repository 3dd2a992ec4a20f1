"""The coordinator's memory over a long run: what units leave behind is given back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from collections.abc import Iterator

TRIM_SECONDS = 10.0


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """Give back, while units run, what each of them leaves behind.

    The plan is hidden from the garbage collector: a full collection waits until a quarter as many objects are new,
    which with the millions of a long plan never happens, so cycles left by Dask and Prefect would pile up. And glibc
    keeps free memory between used blocks, in each thread's arena, until `malloc_trim` is called.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # updates the collector's count of objects
    over = threading.Event()
    trimming = threading.Thread(target=_trim_until, args=(over,), name="patchlake-trim", daemon=True)
    trimming.start()
    try:
        yield
    finally:
        over.set()
        trimming.join()
        gc.unfreeze()


def _trim_until(over: threading.Event) -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    while trim is not None and not over.wait(TRIM_SECONDS):
        trim(0)
