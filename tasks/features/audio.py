"""`audio`: the sound around each row's frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from patchlake.tasks.features.extractor import SOUND, Cells, Extractor, FeatureOptions
from patchlake.tasks.grid import Grid
from patchlake.tasks.types import FloatArray
from patchlake.tasks.video.audio import Sound

_FLOOR = 1e-10
"""Power of silence: -100 dB."""


class AudioSpec(FeatureOptions):
    """Log-mel power of the sound."""

    kind: Literal["audio"]
    mels: Annotated[int, Field(ge=1, le=256)] = 64
    window_seconds: Annotated[float, Field(ge=0.005, le=1)] = 0.025
    hop_seconds: Annotated[float, Field(ge=0.001, le=1)] = 0.01
    low: Annotated[float, Field(ge=0)] = 20.0
    """Hz."""
    high: Annotated[float, Field(gt=0)] = 8000.0
    """Hz; bands above half a file's sample rate are silent."""
    every: Annotated[int, Field(ge=0)] = 0
    """Frames per row, and from row to row; by default those of the patch grid."""

    @property
    def time_stride(self) -> int:
        """The value of `every`."""
        return self.every

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"got low: {self.low:g} and high: {self.high:g}, expected low < high, in Hz")
        return self


class Audio(Extractor):
    """Log-mel power of the sound around each row, at the rate of the rows; y and x have one cell.

    A row's windows are centred at evenly spaced times from its first to its last frame, about `hop_seconds` apart, and
    are `window_seconds` long (periodic Hann, zero-padded to a power of two). Channels: `mel_F`, power in decibels in
    the triangular band around F Hz, averaged over the windows before the logarithm, bands evenly spaced on the mel
    scale 2595 log10(1 + f / 700) between `low` and `high`; 0 dB is a mean square of 1 (a full-scale sine gives -3 dB),
    -100 dB is the floor, also for bands above half the sample rate. `heard`: share of the row's windows that lie wholly
    within the sound; the others are not used. Where it is 0 (no sound, or none yet or any more) all bands are at the
    floor.

    Sound is the mean of the channels, at the file's own rate: nothing is resampled.

    Source: S. Davis and P. Mermelstein, IEEE Trans. ASSP 1980; HTK's mel scale; PSD after P. Welch, 1967.
    """

    version = 1
    dtype: Literal["float16", "float32"] = "float32"
    context_frames = (0, 0)
    needs_gpu = False
    reads = SOUND

    def __init__(self, spec: AudioSpec, patches: Grid, frame_size: tuple[int, int]) -> None:
        self._spec = spec
        edges = _hertz(np.linspace(_mel(spec.low), _mel(spec.high), spec.mels + 2))
        self._edges = edges
        self.channels: tuple[str, ...] = (*(f"mel_{hertz:.0f}" for hertz in edges[1:-1]), "heard")
        self.time_size = spec.every or patches.size[0]
        self.time_stride = spec.every or patches.stride[0]
        self.centres = ((frame_size[0] / 2,), (frame_size[1] / 2,))
        self.digest_parts: dict[str, Any] = spec.model_dump(exclude={"kind", "name", "every"})
        self.attrs: dict[str, Any] = {
            "units": ["dB"] * spec.mels + ["1"],
            "pooling": "mean power over the row's windows",
            "method": f"log-mel, Hann windows of {spec.window_seconds} s every {spec.hop_seconds} s, HTK mel scale",
            "hertz": [float(hertz) for hertz in edges[1:-1]],
        }
        self._banks: dict[int, torch.Tensor] = {}

    def compute(self, pieces: Sequence[Cells]) -> list[npt.NDArray[np.float32]]:
        """Return (rows, 1, 1, channel) for each piece, from the sound around each row's frames."""
        return [self._rows(piece) for piece in pieces]

    def _rows(self, piece: Cells) -> npt.NDArray[np.float32]:
        sound = piece.open_sound()
        pairs = zip(piece.first_seconds.tolist(), piece.last_seconds.tolist(), strict=True)
        rows = [self._row(sound, start, stop) for start, stop in pairs]
        return np.array(rows, dtype=np.float32).reshape(-1, 1, 1, len(self.channels))

    def _row(self, sound: Sound, first: float, last: float) -> npt.NDArray[np.float64]:
        out = np.full(len(self.channels), 10 * np.log10(_FLOOR))
        out[-1] = 0.0
        if not sound.rate:
            return out
        length = max(2, round(self._spec.window_seconds * sound.rate))
        count = 1 + round((last - first) / self._spec.hop_seconds)
        times = np.linspace(first, last, count) if count > 1 else np.array([(first + last) / 2])
        starts = np.rint((times + sound.start_seconds) * sound.rate).astype(np.int64) - length // 2
        samples = sound.read(int(starts[0]), int(starts[-1]) + length)
        windows = np.stack([samples[at : at + length] for at in starts - starts[0]])
        whole = ~np.isnan(windows).any(axis=1)
        out[-1] = whole.mean()
        if whole.any():
            power = self._powers(torch.from_numpy(windows[whole].astype(np.float64)), sound.rate)
            out[:-1] = 10 * np.log10(np.maximum(power.mean(dim=0).numpy(), _FLOOR))
        return out

    def _powers(self, windows: torch.Tensor, rate: int) -> torch.Tensor:
        """Return (n, mels) mean squares in each band for (n, length) samples, in float64."""
        length = windows.shape[1]
        size = 1 << (length - 1).bit_length()
        hann = torch.hann_window(length, periodic=True, dtype=torch.float64)
        spectrum = torch.fft.rfft(windows * hann, n=size).abs() ** 2 * (2 / (size * (hann**2).sum()))
        if rate not in self._banks:
            self._banks[rate] = torch.from_numpy(_bank(self._edges, np.arange(size // 2 + 1) * rate / size))
        power: torch.Tensor = spectrum @ self._banks[rate]
        return power


def _bank(edges: FloatArray, hertz: FloatArray) -> FloatArray:
    """Return (bins, mels) weights: triangles of height 1 between neighbouring edges, in Hz."""
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    up, down = (hertz[:, None] - low) / (centre - low), (high - hertz[:, None]) / (high - centre)
    return np.maximum(0.0, np.minimum(up, down))


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: FloatArray) -> FloatArray:
    return 700 * (10 ** (mel / 2595) - 1)
