"""The other user: a client that sends a chat 20 times a second, each on a new connection.

Latency counts from the moment at which a request was due, so a product that makes the client late
cannot look faster for it.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Final

from benchmarks.speed import bodies

PER_S: Final = 20
PATIENCE_S: Final = 30.0
_BODY: Final = bodies.chat(1024)


@dataclass(slots=True)
class Experience:
    """What the user saw."""

    latencies_ms: list[float] = field(default_factory=list)
    """Of responses that were right."""
    failed: int = 0
    """Requests without a right response within `PATIENCE_S`."""

    def quantile_ms(self, share: float) -> float:
        """Return the latency that this share of the responses kept; NaN if there were none."""
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return math.nan
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def add(self, other: Experience) -> None:
        """Add what was seen at another time."""
        self.latencies_ms += other.latencies_ms
        self.failed += other.failed


async def live_beside(port: int, key: str, seconds: float) -> Experience:
    """Send requests for so long, and wait for all responses."""
    seen = Experience()
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * PER_S)):
            due = began + number / PER_S
            await asyncio.sleep(max(due - clock(), 0))
            _ = group.create_task(_request(port, key, due, seen))
    return seen


async def _request(port: int, key: str, due: float, seen: Experience) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            status = await _status(port, key)
    except (OSError, TimeoutError):
        status = b""
    if status == b"200":
        seen.latencies_ms.append((asyncio.get_running_loop().time() - due) * 1000)
    else:
        seen.failed += 1


async def _status(port: int, key: str) -> bytes:
    """Send a request; returns the status of a whole response, otherwise nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(_BODY)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + _BODY)
        response = await reader.read(-1)
    finally:
        writer.close()
    words = response.split(b" ", 2)
    return words[1] if response.rstrip().endswith(b"}") and len(words) > 1 else b""
