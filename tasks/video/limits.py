"""How much of the machine one video may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one decoding child may take."""

    wall_seconds: float = 3600.0
    """Per request, counted while its reader waits."""
    stall_seconds: float = 30.0
    """Most seconds between two signs of life; a child that reads packets gives one every half second."""
    memory_bytes: int = 2 << 30
    """Address space."""
    max_pixels: int = 8192 * 4320
    """Per source frame: 8K, in its widest form."""
    max_frames: int = 50_000_000
    """Per video, by its packets."""
    max_seconds: float = 7 * 24 * 3600.0
    """From the first to the last PTS of a video's packets."""
    slots: int = 4
    slot_bytes: int = 16 << 20
    """A frame of the frame grid must fit into one slot: 2364 x 2364 at most."""
    slot_rows: int = 32
    """Most frames of a block: small frames don't fill a slot, so that the used part of the ring stays in the caches."""
    threads: int = 1
    """Decoder threads; 0 takes one per core, for a worker that has several to itself."""
    videos_per_child: int = 2000
    """Requests after which a child is replaced, so that leaks do not add up."""
