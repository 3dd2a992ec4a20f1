"""The sound of a video, as read by a worker: forwards, in samples, NaN where there is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from patchlake.tasks.errors import DecodeError
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.types import FrameSource
from patchlake.tasks.video.decoder import Decoder, SoundBlock

Samples = npt.NDArray[np.float32]
_KEPT_SECONDS = 60.0
"""How much already read sound is kept, for tracks of one video that are read alternately."""
_DRAINED = 64
"""Maximum blocks read on closing to reach the file's end, which is cheaper than starting another child."""


class Sound:
    """Reads ranges of one video's sound; for a range before the kept part it restarts at the file's beginning."""

    def __init__(self, decoder: Decoder, source: FrameSource) -> None:
        self._decoder, self._uri = decoder, source.uri
        self.start_seconds = float(source.first_pts * source.time_base)
        """Time of the first displayed frame, on the file's clock."""
        self._begin()

    def _begin(self) -> None:
        self._blocks = self._decoder.sound(self._uri)
        self._kept: list[tuple[int, Samples]] = []
        self._forgot = False
        self._rate: int | None = None
        self._stop = 0

    @property
    def rate(self) -> int:
        """Samples per second; 0: no readable sound."""
        if self._rate is None:
            self._rate = 0
            self._more()
        return self._rate

    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop) on the file's clock; NaN where there are none."""
        if not self.rate:
            return np.full(stop - start, np.nan, dtype=np.float32)
        if self._forgot and start < self._kept[0][0]:
            self.close()
            self._begin()
        while self._stop < stop and self._more():
            self._forget(start - round(_KEPT_SECONDS * self.rate))
        out = np.full(stop - start, np.nan, dtype=np.float32)
        for first, samples in self._kept:
            low, high = max(start, first), min(stop, first + len(samples))
            if low < high:
                out[low - start : high - start] = samples[low - first : high - first]
        return out

    def close(self) -> None:
        """Stop reading; the rest of the sound stays unread."""
        for _ in range(_DRAINED):
            if not self._more():
                return
        self._blocks.close()

    def _more(self) -> bool:
        """Read one block; return whether there was one. A decoding error ends the sound, but not the frames."""
        try:
            block: SoundBlock | None = next(self._blocks, None)
        except Unreachable:
            raise
        except DecodeError:
            block = None
        if block is None:
            return False
        self._rate = block.rate
        self._kept.append((block.first, block.samples.copy()))
        self._stop = block.first + len(block.samples)
        return True

    def _forget(self, before: int) -> None:
        while len(self._kept) > 1 and self._kept[0][0] + len(self._kept[0][1]) <= before:
            del self._kept[0]
            self._forgot = True
