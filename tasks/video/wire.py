"""Format of the decoding child's messages: a header (kind, slot of the ring, payload bytes), then the payload."""

import struct

HEADER = struct.Struct("<III")
BLOCK, PROGRESS, DONE, ERROR = range(4)
"""Rows in a slot (payload: PTS, then views) | a heartbeat | the end (facts, arrays) | an error (reason, text)."""
