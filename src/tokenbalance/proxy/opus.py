"""How long a packet of Opus is: its first byte says it (RFC 6716, section 3.1)."""

from __future__ import annotations

from typing import Final

_SILK: Final = (0.01, 0.02, 0.04, 0.06)
_HYBRID: Final = (0.01, 0.02)
_CELT: Final = (0.0025, 0.005, 0.01, 0.02)
_FRAMES_S: Final = 3 * _SILK + 2 * _HYBRID + 4 * _CELT
"""Seconds of a frame, by the first five bits."""
_ANY_NUMBER: Final = 3
PACKET_S_MAX: Final = 0.12
_SECONDS: Final = tuple(
    0.0 if byte & 3 == _ANY_NUMBER else _FRAMES_S[byte >> 3] * (1, 2, 2)[byte & 3]
    for byte in range(256)
)


def packet_seconds(packet: bytes) -> float:
    """Return the seconds of a packet, of which two bytes are enough.

    One that says more than it may have, or nothing, has the most.
    """
    if not packet:
        return PACKET_S_MAX
    if seconds := _SECONDS[packet[0]]:
        return seconds
    count = packet[1] & 0x3F if len(packet) > 1 else 0
    seconds = count * _FRAMES_S[packet[0] >> 3]
    return seconds if 0 < seconds < PACKET_S_MAX else PACKET_S_MAX
