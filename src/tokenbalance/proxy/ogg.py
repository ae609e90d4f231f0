"""How long an Ogg recording is: the sum of its packets, whatever the times of its pages say.

Pages are walked through (RFC 3533); one that does not follow the last makes the file unreadable.
Streams that follow each other add up. A packet of Opus says how long it is; one of Vorbis is no
longer than the longest block that its stream's head names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.proxy.bounded_file import Unreadable
from tokenbalance.proxy.opus import PACKET_S_MAX, packet_seconds

if TYPE_CHECKING:
    from tokenbalance.proxy.bounded_file import BoundedFile

_PAGE_HEAD: Final = 27
_SEGMENT_FULL: Final = 255
_CONTINUED, _FIRST_PAGE = 1, 2
_OPUS: Final = b"OpusHead"
_OPUS_RATE: Final = 48_000
_OPUS_HEADS: Final = (b"OpusHead", b"OpusTags")
_VORBIS: Final = b"\x01vorbis"
_VORBIS_HEAD: Final = 30
_VORBIS_BLOCK_BITS_MAX: Final = 13
_PACKETS_MAX: Final = 2_000_000
_PACKET_BYTES_MIN: Final = 1
"""Of a packet without content: its length."""


@dataclass(slots=True)
class _Stream:
    """One stream, as far as it was read."""

    is_opus: bool
    rate: int
    longest: float
    """Seconds of a packet at most."""
    seconds: float = 0.0
    granule: int = 0
    is_open: bool = False
    """Whether its last packet goes on in its next page."""


def ogg_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording.

    Raises:
        Unreadable: it has streams of other kinds, or its pages do not follow each other.

    """
    streams: dict[bytes, _Stream] = {}
    at, ended, packets = 0, 0.0, 0
    while at < size:
        _ = file.seek(at)
        head = file.read(_PAGE_HEAD + 255)
        if len(head) < _PAGE_HEAD or head[:5] != b"OggS\x00":
            raise Unreadable
        lengths = head[_PAGE_HEAD : _PAGE_HEAD + head[26]]
        body = file.read(_body_at(file, at, lengths))
        serial = head[14:18]
        if head[5] & _FIRST_PAGE:
            if serial in streams:
                ended += _length(streams[serial])
            streams[serial] = _stream(body)
        elif serial not in streams:
            raise Unreadable
        stream = streams[serial]
        granule = int.from_bytes(head[6:14], "little", signed=True)
        stream.granule = max(stream.granule, granule)
        stream.is_open = stream.is_open and bool(head[5] & _CONTINUED)
        _add(stream, lengths, body)
        at += _PAGE_HEAD + len(lengths) + len(body)
        packets += len(lengths)
        if packets > _PACKETS_MAX:
            # Nobody has so many; the rest is as long as it could be.
            ended += (size - at) / _PACKET_BYTES_MIN * max(PACKET_S_MAX, stream.longest)
            break
    return ended + sum(map(_length, streams.values()))


def _body_at(file: BoundedFile, at: int, lengths: bytes) -> int:
    _ = file.seek(at + _PAGE_HEAD + len(lengths))
    return sum(lengths)


def _length(stream: _Stream) -> float:
    return max(stream.seconds, stream.granule / stream.rate)


def _stream(body: bytes) -> _Stream:
    if body.startswith(_OPUS):
        return _Stream(is_opus=True, rate=_OPUS_RATE, longest=PACKET_S_MAX)
    if not body.startswith(_VORBIS) or len(body) < _VORBIS_HEAD:
        raise Unreadable
    rate, bits = int.from_bytes(body[12:16], "little"), body[28] >> 4
    if not rate or bits > _VORBIS_BLOCK_BITS_MAX:
        raise Unreadable
    return _Stream(is_opus=False, rate=rate, longest=(1 << bits) / 2 / rate)


def _add(stream: _Stream, lengths: bytes, body: bytes) -> None:
    """Add the packets that begin in a page."""
    at, goes_on, seconds = 0, stream.is_open, 0.0
    for length in lengths:
        if not goes_on:
            if not stream.is_opus:
                seconds += stream.longest
            elif body[at : at + 8] not in _OPUS_HEADS:
                seconds += packet_seconds(body[at : at + min(length, 2)])
        goes_on = length == _SEGMENT_FULL
        at += length
    stream.is_open = goes_on
    stream.seconds += seconds
