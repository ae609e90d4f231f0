"""How long a WebM recording is: the time of its last block.

What a browser records has no duration in its head, and clusters of unknown size. So all elements
are walked through, by their ids and sizes (RFC 8794, RFC 9559); those with others inside are
entered, and everything else is skipped.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from tokenbalance.proxy.bounded_file import BoundedFile

_ENTERED: Final = frozenset({0x18538067, 0x1549A966, 0x1F43B675, 0xA0})
"""Segment, Info, Cluster, BlockGroup."""
_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_CLUSTER_TIME: Final = 0xE7
_BLOCKS: Final = frozenset({0xA3, 0xA1})
_LAST_BLOCK_S: Final = 0.12
"""A packet of Opus has so many seconds at most."""
_NANOSECONDS: Final = 1_000_000_000
_USUAL_SCALE: Final = 1_000_000
_VALUE_BYTES_MAX: Final = 8
_FLOATS: Final = {4: ">f", 8: ">d"}


def webm_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording; None if it has no block."""
    at, scale, cluster, last, declared = 0, _USUAL_SCALE, 0, -1, 0.0
    while at < size:
        _ = file.seek(at)
        head = file.read(16)
        kind, kind_bytes = _vint(head, 0, keeps_marker=True)
        length, length_bytes = _vint(head, kind_bytes, keeps_marker=False)
        if not kind_bytes or not length_bytes:
            break
        at += kind_bytes + length_bytes
        if kind in _ENTERED:
            continue
        body = head[kind_bytes + length_bytes :]
        if kind in _BLOCKS:
            _, track_bytes = _vint(body, 0, keeps_marker=False)
            relative = int.from_bytes(body[track_bytes : track_bytes + 2], "big", signed=True)
            last = max(last, cluster + relative)
        elif kind == _CLUSTER_TIME:
            cluster = int.from_bytes(body[: min(length, _VALUE_BYTES_MAX)], "big")
        elif kind == _SCALE:
            scale = int.from_bytes(body[: min(length, _VALUE_BYTES_MAX)], "big") or _USUAL_SCALE
        elif kind == _DURATION and length in _FLOATS:
            declared = cast("tuple[float]", struct.unpack(_FLOATS[length], body[:length]))[0]
        at += length
    if last < 0:
        return None
    return max(last * scale / _NANOSECONDS + _LAST_BLOCK_S, declared * scale / _NANOSECONDS)


def _vint(data: bytes, at: int, *, keeps_marker: bool) -> tuple[int, int]:
    """Read a number of variable length; returns it, and how many bytes it has (0: none)."""
    if at >= len(data) or not data[at]:
        return 0, 0
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return 0, 0
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keeps_marker else value & ((1 << 7 * length) - 1)), length
