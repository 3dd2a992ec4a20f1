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

    The plan is taken out of the garbage collector's sight: it looks at all objects only when a quarter as many came
    anew, which of the millions of a long plan never happens, and what Dask and Prefect leave in cycles would pile up.
    And glibc keeps what is free between what is not, in each thread's arena, until it is asked for it.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # it counts anew how many objects there are
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
