"""How long a FLAC is: the sum of its frames, each of which says how many samples it has (RFC 9639).

The head may say any total. The file is at least as long as if it were not compressed. Frames have
no length, so every place that looks like a frame counts: their check of eight bits lets about one
wrong one through in 25 MiB.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.proxy.bounded_file import PIECE_BYTES

if TYPE_CHECKING:
    from tokenbalance.proxy.bounded_file import BoundedFile

_HEAD_BYTES: Final = 42
_INFO: Final = 34
_TOTAL_BITS: Final = 36
_BITS_SHIFT, _CHANNELS_SHIFT, _RATE_SHIFT = 36, 41, 44
_NO_WIDTH: Final = 3
_SYNC: Final = re.compile(
    b"\xff[\xf8\xf9][\x10-\xff][%b](?:[\x00-\x7f]|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xfe][\x80-\xbf]{2})"
    % re.escape(bytes(byte for byte in range(0, 0xB0, 2) if byte >> 1 & 7 != _NO_WIDTH))
)
"""Begins a frame; its codes are not the reserved ones, and its number is written as in UTF-8."""
_FRAME_HEADER_MAX: Final = 16
_FRAME_BYTES_MIN: Final = 10
_FRAMES_MAX: Final = 150_000
_BLOCK_MAX: Final = 65_536
_RATE_MIN: Final = 1_000
_BLOCKS: Final = {1: 192, **{code: 144 << code for code in range(2, 6)}}
_BLOCK_OF_BYTE, _BLOCK_OF_TWO = 6, 7
_RATES: Final = (
    0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
)  # fmt: skip
_RATE_KHZ, _RATE_HZ, _RATE_TENS, _RATE_INVALID = 12, 13, 14, 15


def _checks() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        check = byte
        for _ in range(8):
            check = (check << 1 ^ (0x07 if check & 0x80 else 0)) & 0xFF
        table.append(check)
    return tuple(table)


_CHECK: Final = _checks()


def flac_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording; None if its head is not the usual one."""
    head = file.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES or head[4] & 0x7F or int.from_bytes(head[5:8], "big") != _INFO:
        return None
    packed = int.from_bytes(head[18:26], "big")
    rate = packed >> _RATE_SHIFT
    if not rate:
        return None
    declared = (packed & ((1 << _TOTAL_BITS) - 1)) / rate
    width = -(-((packed >> _BITS_SHIFT & 31) + 1) // 8) * ((packed >> _CHANNELS_SHIFT & 7) + 1)
    uncompressed = size / (width * rate)
    return max(declared, uncompressed, _frames_seconds(file, size, rate))


def _frames_seconds(file: BoundedFile, size: int, rate: int) -> float:
    seconds, number, start, kept = 0.0, 0, _HEAD_BYTES, b""
    while piece := file.read(PIECE_BYTES):
        piece = kept + piece
        is_last = start + len(piece) >= size
        end = len(piece) if is_last else max(len(piece) - _FRAME_HEADER_MAX, 0)
        for match in _SYNC.finditer(piece):
            at = match.start()
            if at >= end:
                break
            seconds += _frame_seconds(piece[at : at + _FRAME_HEADER_MAX], rate)
            number += 1
            if number >= _FRAMES_MAX:
                # Nobody has so many; the rest is as long as it could be.
                left = (size - start - at) / _FRAME_BYTES_MIN
                return seconds + left * _BLOCK_MAX / min(rate, _RATE_MIN)
        start, kept = start + end, piece[end:]
    return seconds


def _frame_seconds(head: bytes, rate: int) -> float:
    """Seconds of the frame that begins so; none if it is no frame."""
    block, code = head[2] >> 4, head[2] & 0x0F
    at = 5
    if head[4:5] >= b"\xc0":
        at = 4 + 8 - (head[4] ^ 0xFF).bit_length()
    samples = _BLOCKS.get(block) or 256 << max(block - 8, 0)
    if block in {_BLOCK_OF_BYTE, _BLOCK_OF_TWO}:
        width = block - 5
        samples = int.from_bytes(head[at : at + width], "big") + 1
        at += width
    if code == _RATE_INVALID:
        return 0.0
    if code >= _RATE_KHZ:
        width = 1 if code == _RATE_KHZ else 2
        told = int.from_bytes(head[at : at + width], "big")
        told *= {_RATE_KHZ: 1_000, _RATE_HZ: 1, _RATE_TENS: 10}[code]
        rate = min(told or rate, rate)
        at += width
    elif code:
        rate = min(_RATES[code], rate)
    if at >= len(head):
        return 0.0
    check = 0
    for byte in head[: at + 1]:
        check = _CHECK[check ^ byte]
    return 0.0 if check else samples / rate
