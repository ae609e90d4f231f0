"""Makes sounds: a tone as WAV or PCM, silence as MP3; and measures how long a sound is.

Formats that would need an encoder are sent as silent MP3, whatever was asked for.
"""

from __future__ import annotations

import math
import struct
from typing import Final

RATE_HZ: Final = 24_000
_SAMPLE_BYTES: Final = 2
_TONE_HZ: Final = 440
_LOUDNESS: Final = 8_000
_WAV_HEAD: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")
_WAV_HEAD_BYTES: Final = _WAV_HEAD.size

# MPEG-1, layer III, 128 kbit/s, 44.1 kHz, one channel: a frame of zeros is silence.
_FRAME: Final = b"\xff\xfb\x90\xc4" + bytes(413)
_FRAMES_A_SECOND: Final = 44_100 / 1152
_MP3_BYTES_A_SECOND: Final = 16_000


def pcm(seconds: float) -> bytes:
    """Return a tone as 16-bit samples."""
    # A tenth of a second holds whole waves, so that it can be repeated.
    count = RATE_HZ // 10
    wave = [
        round(_LOUDNESS * math.sin(2 * math.pi * _TONE_HZ * at / RATE_HZ)) for at in range(count)
    ]
    tenth = struct.pack(f"<{count}h", *wave)
    return tenth * max(round(seconds * 10), 1)


def wav(seconds: float) -> bytes:
    """Return a tone as a WAV file."""
    data = pcm(seconds)
    head = _WAV_HEAD.pack(
        b"RIFF",
        _WAV_HEAD_BYTES - 8 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        RATE_HZ,
        RATE_HZ * _SAMPLE_BYTES,
        _SAMPLE_BYTES,
        8 * _SAMPLE_BYTES,
        b"data",
        len(data),
    )
    return head + data


def mp3(seconds: float) -> bytes:
    """Return silence as an MP3 file."""
    return _FRAME * max(round(seconds * _FRAMES_A_SECOND), 1)


def seconds_of(data: bytes, size: int) -> float:
    """Return how long a sound is: by its head if it is a WAV, else as an MP3 of its size."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE" and len(data) >= _WAV_HEAD_BYTES:
        a_second = struct.unpack_from("<I", data, 28)[0]
        return round((size - _WAV_HEAD_BYTES) / max(a_second, 1), 2)
    return round(size / _MP3_BYTES_A_SECOND, 2)
