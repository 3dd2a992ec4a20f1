"""Opens a video safely; its packets, and the frames decoded from each. Used only in the decoding child."""

from __future__ import annotations

import collections
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from patchlake.tasks.storage.object_file import ObjectFile
from patchlake.tasks.storage.reading import open_uri
from patchlake.tasks.storage.uris import is_s3, path_of
from patchlake.tasks.video.formats import CODECS, DECODERS, FORMATS

BEGINNINGS = {
    0: (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV\x01", b"GIF8", b"\x30\x26\xb2\x75"),
    4: (b"ftyp", b"moov", b"mdat", b"wide"),
}
"""Offset -> first bytes of known containers: a file that begins like this but does not open is cut off."""
SELF_ORDERED = ("hevc", "av1", "vp9", "vp8", "mjpeg")
"""Codecs whose streams always state how far frames are reordered, or whose frames never are."""
GUESSED_FPS = Fraction(25)
"""For streams that have neither PTS nor a rate."""


class Refused(Exception):
    """The video can't be read as requested: a reason from `types.Reason` and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message


def open_video(
    uri: str, max_pixels: int, threads: int, *, for_index: bool, beat: Callable[[], None]
) -> tuple[InputContainer, VideoStream]:
    """Open a file or object and the video stream that ffmpeg would pick, ready to decode.

    Opening decodes some frames to find what headers leave out. So the file is first opened without any codec
    (0.3 ms), to check names and sizes before a decoder runs. If the headers contain all that decoding needs,
    this is enough and saves 1 to 7 ms, which matters for a short clip.
    """
    file = ObjectFile(uri, beat) if is_s3(uri) else os.fsdecode(path_of(uri))
    container, stream = _open_stream(uri, file, "none", max_pixels)
    if for_index or not _says_order(container, stream):
        container.close()
        container, stream = _open_stream(uri, file, DECODERS, max_pixels)
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    stream.codec_context.thread_count = threads
    stream.thread_type = "AUTO"
    return container, stream


def _says_order(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether decoders can put frames in display order without looking ahead.

    Of these codecs only H.264 may not state its reorder depth; then mov tables do, or decoding begins with a guess.
    """
    name = stream.codec_context.codec.canonical_name
    is_mov = container.format.name.startswith("mov")
    if not (is_mov or container.format.name.startswith("matroska")):
        return False
    return name in SELF_ORDERED or (name == "h264" and (is_mov or stream.codec_context.has_b_frames))


def _open_stream(
    uri: str, file: ObjectFile | str, decoders: str, max_pixels: int
) -> tuple[InputContainer, VideoStream]:
    """Open a file and its video stream; a refused file is closed at once instead of at garbage collection."""
    container = open_container(uri, file, decoders)
    try:
        return container, _pick(container, max_pixels)
    except Refused:
        container.close()
        raise


def open_container(uri: str, file: ObjectFile | str, decoders: str) -> InputContainer:
    """Open a path, or an object's bytes; in the latter case FFmpeg itself may open nothing."""
    protocols = "file" if isinstance(file, str) else "none"
    options = {"format_whitelist": FORMATS, "protocol_whitelist": protocols, "codec_whitelist": decoders}
    if isinstance(file, ObjectFile):
        file.seek(0)
    try:
        return av.open(file, "r", options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as exc:
        known = {errno.ENOENT: "missing", errno.ELOOP: "symlink_loop", errno.EACCES: "unreadable"}
        if isinstance(file, str) and (reason := known.get(exc.errno or 0)):
            raise Refused(reason, f"the file can't be opened: {exc.strerror}") from exc
        raise Refused(*_why_not(uri)) from exc


def _why_not(uri: str) -> tuple[str, str]:
    """Return whether a file is a video cut off before its index, or not a video, as reason and message."""
    if not is_s3(uri) and not os.path.isfile(path_of(uri)):
        return "not_video", "not a regular file"
    with open_uri(uri) as file:
        head = file.read(16)
    if not head:
        return "empty", "the file has no bytes"
    if any(head.startswith(magic, start) for start, magics in BEGINNINGS.items() for magic in magics):
        return (
            "unreadable",
            "the file begins as a video, but its index is cut off or broken",
        )
    return "not_video", "the file is in no container format that patchlake reads"


def _pick(container: InputContainer, max_pixels: int) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise Refused("no_video_stream", f"the file holds no video stream; streams found: {kinds}")
    context = stream.codec_context
    name = "unknown" if context is None else context.codec.canonical_name
    if name not in CODECS.split(","):
        raise Refused("unsupported_codec", f"codec {name} is not among those that patchlake decodes")
    if context.width * context.height > max_pixels:
        size = f"{context.width}x{context.height}"
        raise Refused("too_large", f"frames of {size} pixels; at most {max_pixels} pixels are decoded")
    return stream


def packets_of(
    container: InputContainer, stream: VideoStream, faults: collections.Counter[str]
) -> Iterator[Packet[VideoStream]]:
    """Yield the stream's intact packets; broken ones are counted, as is a read error, which ends the stream.

    Transport streams flag packets after a gap as corrupt, but these can be decoded.
    """
    accept_flagged = container.format.name == "mpegts"
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_corrupt and not accept_flagged:
                faults["broken packets"] += 1
                continue
            yield packet
    except MemoryError:
        raise
    except av.error.FFmpegError:
        faults["read errors"] += 1


def decoded(
    stream: VideoStream, packet: Packet[VideoStream] | None, faults: collections.Counter[str]
) -> list[VideoFrame]:
    """Decode a packet, or flush with None; an undecodable packet gives no frames and is counted."""
    try:
        return stream.codec_context.decode(packet)
    except av.error.InvalidDataError:
        _require_room(4 * stream.codec_context.width * stream.codec_context.height)
        faults["undecodable packets"] += 1
    except EOFError:
        pass
    return []


def _require_room(num_bytes: int) -> None:
    """Raise MemoryError if this much can't be allocated: FFmpeg's H.264 decoder then reports invalid data."""
    try:
        mmap.mmap(-1, max(num_bytes, 1 << 20)).close()
    except OSError as exc:
        raise MemoryError from exc
