"""How long a WAV is: the size of the file by the rate, channels and width of its samples.

The chunk that says these is looked for in the whole file: decoders differ in which of two they
take, so a file with a second one has no length here.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.proxy.bounded_file import PIECE_BYTES, Unreadable

if TYPE_CHECKING:
    from tokenbalance.proxy.bounded_file import BoundedFile

_FORMAT: Final = re.compile(rb"fmt [\s\S]{3}[\x00\x01]")
"""Begins the chunk: its name, and a length below 32 MiB. Samples look so once in 10,000 files."""
_MATCH_BYTES: Final = 8
_SIZE_MAX: Final = 32 * 1024 * 1024
_FIELDS: Final = struct.Struct("<HHIIHH")
"""Format, channels, rate, bytes a second, bytes of a block, bits of a sample."""
_CHUNK_BYTES: Final = 48
_EXTENSIBLE: Final = 0xFFFE
_SUBFORMAT: Final = struct.Struct("<H14s")
_SUBFORMAT_AT: Final = 32
_SUBFORMAT_END: Final = bytes.fromhex("000000001000800000aa00389b71")
_EXTENSIBLE_BYTES: Final = 40
_BITS: Final = {1: range(1, 33), 3: (32, 64), 6: (8,), 7: (8,)}
"""Widths of samples by format: integers, floats, A-law, mu-law."""
_CHANNELS_MAX: Final = 8
_RATE_MAX: Final = 384_000
_HEAD_BYTES: Final = 44
"""The fewest that a file has besides its samples."""


def wav_seconds(file: BoundedFile, size: int) -> float | None:
    """Return the seconds of a recording; None if it is not plain samples of one format."""
    if size > _SIZE_MAX:
        return None
    _ = file.seek(_only_format(file))
    chunk = file.read(_CHUNK_BYTES)
    if len(chunk) < _MATCH_BYTES + _FIELDS.size:
        return None
    fields = cast("tuple[int, int, int, int, int, int]", _FIELDS.unpack_from(chunk, 8))
    codec, channels, rate, _, block, bits = fields
    if codec == _EXTENSIBLE:
        codec = _subformat(chunk)
    is_plausible = 0 < channels <= _CHANNELS_MAX and 0 < rate <= _RATE_MAX
    if not is_plausible or bits not in _BITS.get(codec, ()) or block != channels * -(-bits // 8):
        return None
    return max(size - _HEAD_BYTES, 0) / (block * rate)


def _only_format(file: BoundedFile) -> int:
    found: set[int] = set()
    start, kept = 0, b""
    while piece := file.read(PIECE_BYTES):
        piece = kept + piece
        found.update(start + match.start() for match in _FORMAT.finditer(piece))
        if len(found) > 1:
            break
        kept = piece[-_MATCH_BYTES + 1 :]
        start += len(piece) - len(kept)
    if len(found) != 1:
        raise Unreadable
    return found.pop()


def _subformat(chunk: bytes) -> int:
    if len(chunk) < _CHUNK_BYTES or int.from_bytes(chunk[4:8], "little") < _EXTENSIBLE_BYTES:
        return 0
    codec, end = cast("tuple[int, bytes]", _SUBFORMAT.unpack_from(chunk, _SUBFORMAT_AT))
    return codec if end == _SUBFORMAT_END else 0
