"""How long an uploaded recording is, read from the file; never below what it really may be.

A header can say anything, and the upstream bills what it decodes. So the length that a header has
is only taken where the bytes allow it:

    MP3            every frame is looked at: its own header says how long it is
    WAV            the size of the file by the rate, channels and width of samples
    WebM           the time of its last block
    FLAC           at least its size, as if it were not compressed
    Ogg, MP4       at least its size at the highest rate of such files

What cannot be read has no length here; the ceiling bounds it by its size. Files are read in a
thread, in bounded pieces, and with a bound on all of them together. It must never raise for
anything that a file contains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, cast

from tinytag import TinyTag, TinyTagException

from tokenbalance.proxy.bounded_file import BoundedFile, Unreadable
from tokenbalance.proxy.mp3 import BEGINS, mp3_seconds
from tokenbalance.proxy.webm import webm_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

_PCM: Final = frozenset({1, 3, 6, 7})
"""Formats of WAV with samples of a fixed size: integers, floats, A-law, mu-law."""
_FASTEST: Final = {b"OggS": 64_000, b"ftyp": 1_000_000}
"""Bytes of a second at most: Opus has 510 kbit/s, an MP4 may have pictures beside the sound."""


def seconds_of(file: BinaryIO, size: int) -> float | None:
    """Return how long a recording is at most, in seconds; None if that cannot be read.

    Args:
        file: seekable; read from its beginning.
        size: its bytes.

    """
    try:
        _ = file.seek(0)
        head = file.read(12)
        read = _reader_for(head)
        if read is None:
            return None
        _ = file.seek(0)
        seconds = read(BoundedFile(file), size)
    except (OSError, ValueError, OverflowError, Unreadable, TinyTagException):
        return None
    return seconds if seconds is not None and 0 < seconds < float("inf") else None


def _reader_for(head: bytes) -> Callable[[BoundedFile, int], float | None] | None:
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _wav_seconds
    if head[:4] == b"fLaC":
        return _flac_seconds
    if head[:4] == b"\x1aE\xdf\xa3":
        return webm_seconds
    if head[:4] in _FASTEST or head[4:8] in _FASTEST:
        return _container_seconds
    if BEGINS.match(head):
        return mp3_seconds
    return None


def _tag_of(file: BoundedFile) -> TinyTag:
    return TinyTag.get(file_obj=cast("BinaryIO", cast("object", file)), tags=False)


def _wav_seconds(file: BoundedFile, size: int) -> float | None:
    tag = _tag_of(file)
    width = -(-(tag.bitdepth or 0) // 8) * (tag.channels or 0)
    codec = (tag.mime_type or "").rpartition('codecs="')[2].rstrip('"')
    is_plain = codec.isalnum() and int(codec, 16) in _PCM
    if not is_plain or not width or not tag.samplerate:
        return None
    return size / (width * tag.samplerate)


def _flac_seconds(file: BoundedFile, size: int) -> float | None:
    tag = _tag_of(file)
    width = -(-(tag.bitdepth or 0) // 8) * (tag.channels or 0)
    if not tag.duration or not width or not tag.samplerate:
        return None
    return max(tag.duration, size / (width * tag.samplerate))


def _container_seconds(file: BoundedFile, size: int) -> float | None:
    tag = _tag_of(file)
    fastest = _FASTEST[b"OggS" if "ogg" in (tag.mime_type or "") else b"ftyp"]
    return max(tag.duration, size / fastest) if tag.duration else None
