"""How long an uploaded recording is, read from the file; never below what it really may be.

A header can say anything, and the upstream bills what it decodes. So the length that a header has
is only taken where the bytes allow it:

    MP3            every frame is looked at: its own header says how long it is
    WAV            the size of the file by the rate, channels and width of samples
    WebM           the time of its last block, or the sum of its packets of Opus
    Ogg            the sum of its packets
    FLAC           the sum of its frames
    MP4            its packets of AAC or ALAC, by what each has when it is decoded

What cannot be read has no length here; the ceiling bounds it by its size. Files are read in a
thread, in bounded pieces, and with a bound on all of them together. It must never raise for
anything that a file contains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from tokenbalance.proxy.bounded_file import BoundedFile, Unreadable
from tokenbalance.proxy.flac import flac_seconds
from tokenbalance.proxy.mp3 import BEGINS, mp3_seconds
from tokenbalance.proxy.mp4 import mp4_seconds
from tokenbalance.proxy.ogg import ogg_seconds
from tokenbalance.proxy.wav import wav_seconds
from tokenbalance.proxy.webm import webm_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

_DIGITS: Final = 6
"""Of a second: a sum of many parts is not taken for a second more."""
_BY_MAGIC: Final = {b"fLaC": flac_seconds, b"\x1aE\xdf\xa3": webm_seconds, b"OggS": ogg_seconds}


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
    except (OSError, ValueError, OverflowError, Unreadable):
        return None
    if seconds is None or not 0 < seconds < float("inf"):
        return None
    return round(seconds, _DIGITS) or None


def _reader_for(head: bytes) -> Callable[[BoundedFile, int], float | None] | None:
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return wav_seconds
    if head[4:8] == b"ftyp":
        return mp4_seconds
    if head[:4] in _BY_MAGIC:
        return _BY_MAGIC[head[:4]]
    return mp3_seconds if BEGINS.match(head) else None
