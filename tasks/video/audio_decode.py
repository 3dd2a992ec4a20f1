"""From a file's packets to its sound. Runs in the decoding child only."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from patchlake.tasks.storage.object_file import ObjectFile
from patchlake.tasks.storage.uris import is_s3, path_of
from patchlake.tasks.video.demux import open_container

DECODERS = (
    "aac,aac_latm,mp3,mp3float,mp2,mp2float,mp1,mp1float,ac3,eac3,opus,libopus,vorbis,flac,alac,pcm_s16le,pcm_s16be,"
    "pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_u8,pcm_s8,pcm_mulaw,pcm_alaw,"
    "pcm_bluray,pcm_dvd,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,wmav1,wmav2,amrnb,amrwb,dca"
)
"""Audio decoders that may see a file's bytes, by FFmpeg's names."""
JITTER_SECONDS = 0.005
"""Containers round times (Matroska to milliseconds): samples are contiguous unless their times differ by more."""
BLOCK_SAMPLES = 1 << 16
Samples = npt.NDArray[np.float32]


def samples_of(uri: str, beat: Callable[[], None]) -> Iterator[tuple[int, int, Samples]]:
    """Yield rate, number of the first sample (the container's clock in samples), and mono samples, in order.

    Always from the file's start: decoders of AAC, Opus and others have state that no seek restores exactly. Where the
    clock jumps, sample numbers jump; samples that overlap earlier ones are left out. An undecodable packet leaves a
    gap; a change of rate ends the sound. A file without decodable sound yields nothing.
    """
    file = ObjectFile(uri, beat) if is_s3(uri) else os.fsdecode(path_of(uri))
    container = open_container(uri, file, DECODERS)
    with container:
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream) or stream.codec_context.name not in DECODERS.split(","):
            return
        for other in container.streams:
            other.discard = Discard.default if other is stream else Discard.all
        rate, first, held = 0, 0, [np.empty(0, np.float32)]
        for rate, at, samples in _placed(_frames(container, stream, beat)):
            num_held = sum(map(len, held))
            if num_held and (at != first + num_held or num_held >= BLOCK_SAMPLES):
                yield rate, first, np.concatenate(held)
                held, num_held = [], 0
            first = first if num_held else at
            held.append(samples)
        if any(map(len, held)):
            yield rate, first, np.concatenate(held)


def _placed(frames: Iterator[AudioFrame]) -> Iterator[tuple[int, int, Samples]]:
    """Yield rate, number of each frame's first sample, and its samples."""
    rate, next_at = 0, None
    for frame in frames:
        rate = rate or frame.sample_rate
        if frame.sample_rate != rate:
            return
        samples = _mono(frame)
        said = next_at
        if frame.pts is not None and frame.time_base is not None:
            said = round(frame.pts * frame.time_base * rate)
        at = next_at = said or 0 if next_at is None else next_at
        if said is not None and abs(said - at) > max(len(samples) // 2, JITTER_SECONDS * rate):
            samples, at = samples[max(0, at - said) :], max(at, said)
        next_at = at + len(samples)
        if len(samples):
            yield rate, at, samples


def _frames(container: InputContainer, stream: AudioStream, beat: Callable[[], None]) -> Iterator[AudioFrame]:
    """Yield the frames that can be decoded."""
    faults: collections.Counter[str] = collections.Counter()
    try:
        for packet in container.demux(stream):
            beat()
            try:
                yield from stream.codec_context.decode(packet if packet.size else None)
            except (av.error.InvalidDataError, EOFError):
                faults["undecodable packets"] += 1
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return


def _mono(frame: AudioFrame) -> Samples:
    """Return the mean of a frame's channels, full scale 1."""
    values: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        values = (values.astype(np.float64) - 128) / 128
    elif values.dtype.kind == "i":
        values = values / float(1 << (8 * values.dtype.itemsize - 1))
    mono: Samples = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mono
