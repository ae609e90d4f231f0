"""Draws pictures: stripes in two colours that the prompt decides, as PNG or SVG.

No other format is drawn: a request for one gets a PNG, as the bytes say.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_STRIPES: Final = (0x00, 0x0F, 0xF0, 0xFF)


def png(text: str, width: int, height: int) -> bytes:
    """Draw a PNG of two colours, one bit a pixel."""
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    row_bytes = (width + 7) // 8
    rows = (
        b"\0" + bytes([_STRIPES[digest[6 + y // 32 % 10] % 4]]) * row_bytes for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", digest[:6]),
            _chunk(b"IDAT", zlib.compress(b"".join(rows), 6)),
            _chunk(b"IEND", b""),
        )
    )


def svg(text: str, width: int, height: int) -> bytes:
    """Draw an SVG of one colour."""
    colour = hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<rect width="100%" height="100%" fill="#{colour}"/></svg>'
    ).encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
