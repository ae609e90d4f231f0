"""How long an MP4 with AAC or ALAC is: its packets, by the samples that each has decoded.

The durations of the head are not believed. A file in fragments, with other sound, or without a
table of packets has no length here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.proxy.bounded_file import PIECE_BYTES, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.proxy.bounded_file import BoundedFile

_BOXES_MAX: Final = 10_000
_ENTERED: Final = frozenset({b"moov", b"mdia", b"minf", b"stbl"})
_FRAGMENTS: Final = frozenset({b"moof", b"mvex"})
_FRAME_SAMPLES: Final = 1_024
_AAC_RATES: Final = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
)  # fmt: skip
_LOW_COMPLEXITY: Final = frozenset({2, 5, 29})
"""Kinds of AAC whose packets have 1,024 samples at the rate that comes first (twice at double)."""
_CONFIG: Final = 5
_ALAC_NAMES: Final = 2
"""The sound is named so, and its description."""
_LONG: Final = 1
_OF_DATA: Final = b"dhlr"
"""A second handler that QuickTime writes."""
_TABLES: Final = 5
"""hdlr, mdhd, stsd, stts, stsz."""


@dataclass(slots=True)
class _Track:
    """What the boxes of one track say."""

    is_sound: bool = False
    timescale: int = 0
    deltas: int = 0
    packets: int = 0
    rate: int = 0
    packet_samples: int = 0
    tables: int = 0


def mp4_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording.

    Raises:
        Unreadable: it has no table of packets, or more than one, or its sound is not AAC.

    """
    tracks: list[_Track] = []
    for kind, at, length in _boxes(file, size):
        if kind in _FRAGMENTS:
            raise Unreadable
        if kind == b"trak":
            tracks.append(_Track())
        elif tracks:
            _read(file, tracks[-1], kind, at, length)
    return max((_length(track) for track in tracks if track.is_sound or track.rate), default=None)


def _length(track: _Track) -> float:
    # One box of each kind: decoders differ in which of two they take.
    if not track.timescale or not track.packets or not track.rate or track.tables != _TABLES:
        raise Unreadable
    return max(track.deltas / track.timescale, track.packets * track.packet_samples / track.rate)


def _boxes(file: BoundedFile, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box: its kind, where its content is, and how long that is."""
    at, number = 0, 0
    while at < size:
        _ = file.seek(at)
        head = file.read(16)
        length, kind, start = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == _LONG:
            length, start = int.from_bytes(head[8:16], "big"), 16
        elif not length:
            length = size - at
        number += 1
        if length < start or at + length > size or number > _BOXES_MAX:
            raise Unreadable
        yield kind, at + start, length - start
        at += start if kind in _ENTERED or kind == b"trak" else length


def _read(file: BoundedFile, track: _Track, kind: bytes, at: int, length: int) -> None:
    if kind not in {b"hdlr", b"mdhd", b"stsd", b"stts", b"stsz", b"stz2"}:
        return
    track.tables += 1
    _ = file.seek(at)
    body = file.read(min(length, 4_096))
    if kind == b"hdlr":
        track.is_sound = track.is_sound or body[8:12] == b"soun"
        track.tables -= body[4:8] == _OF_DATA
    elif kind == b"mdhd":
        place = 20 if body[:1] == b"\x01" else 12
        track.timescale = int.from_bytes(body[place : place + 4], "big")
    elif kind == b"stsd":
        track.packet_samples, track.rate = _packets_of(body)
    elif kind == b"stts":
        _read_times(file, track, at, length)
    else:
        track.packets = max(track.packets, int.from_bytes(body[8:12], "big"))


def _read_times(file: BoundedFile, track: _Track, at: int, length: int) -> None:
    _ = file.seek(at + 8)
    left = length - 8
    while left > 0:
        piece = file.read(min(left, PIECE_BYTES))
        if not piece:
            raise Unreadable
        left -= len(piece)
        pairs = struct.iter_unpack(">II", piece[: len(piece) // 8 * 8])
        for count, delta in pairs:
            track.deltas += count * delta
            track.packets = max(track.packets, count)


def _packets_of(body: bytes) -> tuple[int, int]:
    """Samples of a packet, and their rate: as the one description of the sound tells its decoder.

    Zeros if there is none, or another.
    """
    if body[4:8] != b"\x00\x00\x00\x01":
        return 0, 0
    if body[12:16] == b"mp4a" and body.count(b"esds") == 1:
        return _FRAME_SAMPLES, _aac_rate(body, body.index(b"esds") + 8)
    at = body.find(b"alac", 16) + 8
    if body[12:16] == b"alac" and body.count(b"alac") == _ALAC_NAMES and len(body) >= at + 24:
        told = body[at : at + 4], body[at + 20 : at + 24]
        return int.from_bytes(told[0], "big"), int.from_bytes(told[1], "big")
    return 0, 0


def _aac_rate(body: bytes, at: int) -> int:
    for tag, skipped in ((3, 3), (4, 13), (_CONFIG, 0)):
        if body[at : at + 1] != bytes([tag]):
            return 0
        at += 1
        while body[at : at + 1] >= b"\x80":
            at += 1
        at += 1 + skipped
    config = int.from_bytes(body[at : at + 2], "big")
    index = config >> 7 & 0xF
    is_known = config >> 11 in _LOW_COMPLEXITY and index < len(_AAC_RATES)
    return _AAC_RATES[index] if is_known else 0
