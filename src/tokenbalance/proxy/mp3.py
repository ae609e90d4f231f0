"""How long an MP3 is: the sum of its frames, each of which says how long it is (ISO 11172-3).

A head may say how many frames there are (Xing, VBRI), and the first few may have the highest
bitrate; neither is believed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.proxy.bounded_file import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.proxy.bounded_file import BoundedFile

_HEADER: Final = 4
_SYNC: Final = 0xFF
_BITRATES: Final = {
    # kbit/s, by whether it is version 1 and the bits of the layer (3 is the first layer).
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES: Final = {
    # By the bits of the version: 2.5, 2 and 1.
    0: (11_025, 12_000, 8_000),
    2: (22_050, 24_000, 16_000),
    3: (44_100, 48_000, 32_000),
}
_VERSION_1: Final = 3
_SAMPLES: Final = {
    (True, 3): 384,
    (True, 2): 1_152,
    (True, 1): 1_152,
    (False, 3): 384,
    (False, 2): 1_152,
    (False, 1): 576,
}
_SLOT_BYTES: Final = {3: 4, 2: 1, 1: 1}


def _every_frame() -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield the second and third byte of every header, with the bytes and seconds of its frame."""
    for version, rates in _SAMPLE_RATES.items():
        for layer, slot in _SLOT_BYTES.items():
            kind = version == _VERSION_1, layer
            for number, kilobits in enumerate(_BITRATES[kind], 1):
                for index, rate in enumerate(rates):
                    slots = _SAMPLES[kind] // 8 * 1000 // slot * kilobits // rate
                    for padding in (0, 1):
                        lasts = (slots + padding) * slot, _SAMPLES[kind] / rate
                        for unread in (0, 1):
                            second = 0xE0 | version << 3 | layer << 1 | unread
                            third = number << 4 | index << 2 | padding << 1
                            yield second << 8 | third, lasts
                            yield second << 8 | third | 1, lasts


_FRAMES: Final = dict(_every_frame())
_NO_FRAME: Final = (0, 0.0)
_SECONDS, _THIRDS = (
    re.escape(bytes(sorted({key >> shift & 0xFF for key in _FRAMES}))) for shift in (8, 0)
)
_FRAME_HEADER: Final = re.compile(b"\xff[%b][%b]" % (_SECONDS, _THIRDS))
BEGINS: Final = re.compile(b"ID3|\xff[%b][%b]" % (_SECONDS, _THIRDS))
"""How a file begins."""
_TAG_HEADER: Final = 10


def mp3_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording; None if it has no frame.

    What is between two frames is skipped, as a decoder does.
    """
    start = _after_tag(file)
    seconds, at, piece = 0.0, 0, b""
    while start + at < size:
        if at + _HEADER > len(piece):
            start, at = start + at, 0
            _ = file.seek(start)
            piece = file.read(PIECE_BYTES)
            if len(piece) < _HEADER:
                break
        length, lasts = _FRAMES.get(piece[at + 1] << 8 | piece[at + 2], _NO_FRAME)
        if length and piece[at] == _SYNC:
            at += length
            seconds += lasts
            continue
        found = _FRAME_HEADER.search(piece, at + 1)
        at = max(len(piece) - 2, at + 1) if found is None else found.start()
    return seconds or None


def _after_tag(file: BoundedFile) -> int:
    """Where the frames begin: after a tag of ID3, which may have pictures."""
    head = file.read(_TAG_HEADER)
    if len(head) < _TAG_HEADER or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return _TAG_HEADER + size
