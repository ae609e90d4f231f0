"""The attacks, as a program of its own: its work must not delay the user who is measured.

    python -m benchmarks.floods.attacks NAME --port P --seconds S --keys FILE

Everything is bounded in time and number. Sends only plain requests that a product has to survive,
over raw sockets, and prints how they ended as a JSON object: outcome to number. An outcome is a
status, `closed` (without a response), `refused` (no connection) or `open` (still there at the end).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.speed import bodies
from benchmarks.speed.machine import raise_open_files

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

MIB: Final = 1024 * 1024
_CHAT: Final = "/v1/chat/completions"
_SIGN_IN: Final = "/api/user/auth"
_CONNECTIONS_MAX: Final = 2000
_DRIP_S: Final = 1.0
_AGAIN_S: Final = 0.02
"""Pause after a request, so that a connection that is refused at once is no busy loop."""
_PIECE: Final = 256 * 1024


@dataclass(slots=True)
class Attack:
    """One attack that runs."""

    port: int
    seconds: float
    key: str
    outcomes: Counter[str] = field(default_factory=Counter)

    async def in_parallel(self, number: int, one: Callable[[], Awaitable[None]]) -> None:
        """Do the same on so many connections at once until time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds), asyncio.TaskGroup() as group:
                for _ in range(number):
                    _ = group.create_task(self._again_and_again(one))

    async def once_each(self, number: int, one: Callable[[], Awaitable[None]]) -> None:
        """Do it once on each of so many connections; what is left when time is up is `open`."""
        tasks = [asyncio.ensure_future(one()) for _ in range(number)]
        _, left = await asyncio.wait(tasks, timeout=self.seconds)
        for task in left:
            _ = task.cancel()
        _ = await asyncio.gather(*tasks, return_exceptions=True)
        self.outcomes["open"] += len(left)

    async def _again_and_again(self, one: Callable[[], Awaitable[None]]) -> None:
        while True:
            await one()
            await asyncio.sleep(_AGAIN_S)

    async def request(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send one request on a connection of its own, and note how it ends."""
        async with self._connected() as streams:
            if streams is not None:
                reader, writer = streams
                writer.write(self._head(path, len(body), headers or {}))
                await self._until_response(reader, self._send(writer, body))

    async def unfinished(self, size: int, first: int, drip: bytes) -> None:
        """Send a part of a body at once, and then `drip` every second, or nothing if it is empty.

        Args:
            size: bytes of the body, as announced.
            first: bytes that are sent at once.
            drip: what follows every second.

        """
        async with self._connected() as streams:
            if streams is not None:
                reader, writer = streams
                writer.write(self._head(_CHAT, size, {}))
                await self._until_response(reader, self._drip(writer, first, drip))

    async def silence(self) -> None:
        """Connect and say nothing."""
        async with self._connected() as streams:
            if streams is not None:
                await self._until_response(streams[0], asyncio.sleep(self.seconds))

    async def _until_response(self, reader: StreamReader, sending: Awaitable[None]) -> None:
        """Read the status while a request is sent, as some responses come before its end."""
        task = asyncio.ensure_future(sending)
        try:
            line = await reader.readline()
        except OSError:
            line = b""
        finally:
            _ = task.cancel()
            _ = await asyncio.gather(task, return_exceptions=True)
        words = line.split()
        self.outcomes[words[1].decode() if len(words) > 1 else "closed"] += 1

    async def _send(self, writer: StreamWriter, body: bytes) -> None:
        for start in range(0, len(body), _PIECE):
            writer.write(body[start : start + _PIECE])
            await writer.drain()

    async def _drip(self, writer: StreamWriter, first: int, drip: bytes) -> None:
        await self._send(writer, bodies.chat(first)[:first])
        while True:
            await asyncio.sleep(_DRIP_S)
            writer.write(drip)
            await writer.drain()

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[tuple[StreamReader, StreamWriter] | None]:
        try:
            streams = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            self.outcomes["refused"] += 1
            yield None
            return
        try:
            yield streams
        finally:
            # A client that vanishes: no unsent bytes are waited for.
            streams[1].transport.abort()

    def _head(self, path: str, length: int, headers: Mapping[str, str]) -> bytes:
        lines = [
            f"POST {path} HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: Bearer {self.key}",
            "content-type: application/json",
            f"content-length: {length}",
            "connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


async def _slow_bodies(attack: Attack) -> None:
    await attack.once_each(200, lambda: attack.unfinished(8 * MIB, 64 * 1024, b" "))


async def _big_bodies(attack: Attack) -> None:
    await attack.once_each(12, lambda: attack.unfinished(60 * MIB, 30 * MIB, b""))


async def _empty_account(attack: Attack) -> None:
    body = bodies.chat(MIB)
    await attack.in_parallel(16, lambda: attack.request(_CHAT, body))


async def _dear_prompts(attack: Attack) -> None:
    body = bodies.chat(4 * MIB)
    await attack.in_parallel(4, lambda: attack.request(_CHAT, body))


async def _escaped_colon(attack: Attack) -> None:
    document = bodies.chat(4 * MIB + 600 * 1024)
    middle = len(document) // 2
    body = document[:middle] + rb"\u003a" + document[middle:]
    await attack.in_parallel(1, lambda: attack.request(_CHAT, body))


async def _unknown_keys(attack: Attack) -> None:
    body = bodies.chat(1024)
    await attack.in_parallel(64, lambda: attack.request(_CHAT, body))


async def _idle_connections(attack: Attack) -> None:
    await attack.once_each(_CONNECTIONS_MAX, attack.silence)


async def _sign_ins(attack: Attack) -> None:
    async def one() -> None:
        # As many people behind a proxy: each has an e-mail and an address of its own.
        person = secrets.token_hex(4)
        document = {"email": f"{person}@benchmarks.example", "password": "not the right one"}
        address = ".".join(["10", *map(str, secrets.token_bytes(3))])
        await attack.request(_SIGN_IN, json.dumps(document).encode(), {"x-forwarded-for": address})

    await attack.in_parallel(40, one)


Run: TypeAlias = "Callable[[Attack], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of attack, as the table has it."""

    what: str
    run: Run | None
    """None for nothing at all: what the other user's latency is compared with."""
    keys: str = "poor"
    """Whose key it uses, by the name of the accounts."""
    lasting: float = 1.0
    """How many times as long as others it takes."""


KINDS: Final[Mapping[str, Kind]] = {
    "nothing": Kind("nothing", None),
    "slow-bodies": Kind("200 bodies at a byte a second", _slow_bodies, lasting=4.5),
    "big-bodies": Kind("12 bodies, 30 of 60 MiB sent, a key with 68 credits", _big_bodies),
    "empty-account": Kind("16 x 1 MiB, an account without credits", _empty_account, keys="empty"),
    "dear-prompts": Kind("4 x 4 MiB of prompt that the balance cannot pay", _dear_prompts, "edge"),
    "escaped-colon": Kind("4.6 MiB with an escaped colon", _escaped_colon, "edge"),
    "unknown-keys": Kind("64 connections with an unknown key", _unknown_keys, "unknown"),
    "idle-connections": Kind("2,000 connections that say nothing", _idle_connections),
    "sign-ins": Kind("40 sign-ins at once, again and again", _sign_ins),
}


def main() -> int:
    """Run one attack."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods.attacks")
    _ = parser.add_argument("name", choices=[name for name, kind in KINDS.items() if kind.run])
    _ = parser.add_argument("--port", type=int, required=True)
    _ = parser.add_argument("--seconds", type=float, required=True)
    _ = parser.add_argument("--keys", type=Path, required=True)
    given = parser.parse_args()
    run = KINDS[given.name].run
    assert run is not None
    raise_open_files()
    key = given.keys.read_text().split()[0]
    attack = Attack(given.port, given.seconds, key)

    async def attacked() -> None:
        await run(attack)

    asyncio.run(attacked())
    print(json.dumps(attack.outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
