"""Resource limits for one video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of one decoding child."""

    wall_seconds: float = 3600.0
    """Per request; only time that its reader waits counts."""
    stall_seconds: float = 30.0
    """Maximum time between two heartbeats; a child that reads packets sends one every half second."""
    memory_bytes: int = 2 << 30
    """Address space."""
    max_pixels: int = 8192 * 4320
    """Per source frame: 8K in its widest format."""
    max_frames: int = 50_000_000
    """Per video, counted by packets."""
    max_seconds: float = 7 * 24 * 3600.0
    """From the first to the last PTS of a video's packets."""
    slots: int = 4
    slot_bytes: int = 16 << 20
    """A frame of the frame grid must fit into one slot: at most 2364 x 2364."""
    slot_rows: int = 32
    """Maximum frames per block: small frames don't fill a slot, so that the used part of the ring stays in cache."""
    threads: int = 1
    """Decoder threads; 0: one per core, for a worker with several cores to itself."""
    videos_per_child: int = 2000
    """Requests after which a child is replaced, so that leaks do not accumulate."""
