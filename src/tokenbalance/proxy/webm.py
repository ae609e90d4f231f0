"""How long a WebM recording is: the time of its last block, or the sum of its packets.

What a browser records has no duration in its head, and clusters of unknown size. So all elements
are walked through, by their ids and sizes (RFC 8794, RFC 9559); those with others inside are
entered, and everything else is skipped. Where an element does not follow the last one, decoders
look for the next cluster; such a file has no length here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.proxy.bounded_file import Unreadable
from tokenbalance.proxy.opus import packet_seconds

if TYPE_CHECKING:
    from tokenbalance.proxy.bounded_file import BoundedFile

_HEAD: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_TRACK: Final = 0xAE
_LEVELS: Final = {
    _SEGMENT: 0, 0x1549A966: 1, 0x1F43B675: 1, 0x1654AE6B: 1, 0xA0: 2, _TRACK: 2,
}  # fmt: skip
"""What is entered, and how deep it is: Segment; Info, Cluster, Tracks; BlockGroup, TrackEntry."""
_OPEN_ENDED: Final = frozenset({_SEGMENT, 0x1F43B675})
_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_CLUSTER_TIME: Final = 0xE7
_TRACK_NUMBER: Final = 0xD7
_CODEC: Final = 0x86
_ENCODINGS: Final = 0x6D80
_BLOCKS: Final = frozenset({0xA3, 0xA1})
_LACING: Final = 0x06
_LAST_BLOCK_S: Final = 0.12
"""A packet of Opus has so many seconds at most."""
_NANOSECONDS: Final = 1_000_000_000
_USUAL_SCALE: Final = 1_000_000
_VALUE_BYTES_MAX: Final = 8
_FLOATS: Final = {4: ">f", 8: ">d"}
_PEEK_BYTES: Final = 32


@dataclass(slots=True)
class _Walk:
    """What was found so far."""

    scale: int = _USUAL_SCALE
    cluster: int = 0
    last: int = -1
    declared: float = 0.0
    track: int = 0
    codecs: dict[int, bytes] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    """Of the packets of each track of Opus."""


def webm_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording; None if it has no block.

    Raises:
        Unreadable: its elements do not follow each other, or its sound is not Opus.

    """
    walk, at, ends, has_segment = _Walk(), 0, [size], False
    while at < size:
        _ = file.seek(at)
        head = file.read(_PEEK_BYTES)
        kind, kind_bytes = _vint(head, 0, keeps_marker=True)
        length, length_bytes = _vint(head, kind_bytes, keeps_marker=False)
        if not kind_bytes or not length_bytes or (kind == _HEAD and at):
            raise Unreadable
        at += kind_bytes + length_bytes
        is_open = length == (1 << 7 * length_bytes) - 1
        while len(ends) > 1 and ends[-1] < at:
            _ = ends.pop()
        level = _LEVELS.get(kind)
        if level is not None:
            del ends[level + 1 :]
        end = ends[-1] if is_open and kind in _OPEN_ENDED else at + length
        if end > ends[-1] or (kind == _SEGMENT and has_segment):
            raise Unreadable
        if level is None:
            _read(walk, kind, length, head[kind_bytes + length_bytes :])
            at = end
        else:
            has_segment = has_segment or kind == _SEGMENT
            ends.append(end)
    return _length(walk)


def _length(walk: _Walk) -> float | None:
    if walk.last < 0:
        return None
    told = max(walk.last * walk.scale / _NANOSECONDS + _LAST_BLOCK_S,
               walk.declared * walk.scale / _NANOSECONDS)  # fmt: skip
    return max(told, *walk.seconds.values(), 0.0)


def _read(walk: _Walk, kind: int, length: int, body: bytes) -> None:
    value = body[: min(length, _VALUE_BYTES_MAX)]
    if kind in _BLOCKS:
        _read_block(walk, body[:length])
    elif kind == _CLUSTER_TIME:
        walk.cluster = int.from_bytes(value, "big")
    elif kind == _SCALE:
        walk.scale = int.from_bytes(value, "big") or _USUAL_SCALE
    elif kind == _DURATION and length in _FLOATS:
        walk.declared = cast("tuple[float]", struct.unpack(_FLOATS[length], value))[0]
    elif kind == _TRACK_NUMBER:
        walk.track = int.from_bytes(value, "big")
    elif kind == _CODEC:
        walk.codecs[walk.track] = body[:length].rstrip(b"\x00")
    elif kind == _ENCODINGS:
        raise Unreadable


def _read_block(walk: _Walk, body: bytes) -> None:
    track, at = _vint(body, 0, keeps_marker=False)
    relative = int.from_bytes(body[at : at + 2], "big", signed=True)
    walk.last = max(walk.last, walk.cluster + relative)
    if walk.codecs.get(track, b"").startswith(b"V_"):
        return
    if walk.codecs.get(track) != b"A_OPUS" or len(body) < at + 3 or body[at + 2] & _LACING:
        raise Unreadable
    packet = body[at + 3 : at + 5]
    walk.seconds[track] = walk.seconds.get(track, 0.0) + packet_seconds(packet)


def _vint(data: bytes, at: int, *, keeps_marker: bool) -> tuple[int, int]:
    """Read a number of variable length; returns it, and how many bytes it has (0: none)."""
    if at >= len(data) or not data[at]:
        return 0, 0
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return 0, 0
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keeps_marker else value & ((1 << 7 * length) - 1)), length
