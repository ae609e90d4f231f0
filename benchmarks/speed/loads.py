"""Loads: requests to one address, always of limited number and time, and what the clients saw."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, cast

from benchmarks.speed.machine import move_to
from benchmarks.speed.programs import end

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from benchmarks.speed.subjects import Subject

CHAT: Final = "/v1/chat/completions"
_LATE_S: Final = 60.0
"""How much longer than planned a load may take, for its last responses."""
_OPEN_S: Final = 60.0


class LoadFailed(Exception):
    """The tool gave no figures; the message says what it did instead."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked."""

    body: bytes
    connections: int
    keys: str = "users"
    """Whose keys are shown, in turn: a name in `accounts.py`."""
    path: str = CHAT
    streams: bool = False
    per_s: int | None = None
    """None: each connection sends the next request as soon as it has the response."""
    expect: int = 200
    requests: int | None = None
    """So many in all; None: for as long as a round takes."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles, in milliseconds."""

    p50: float
    p99: float

    @classmethod
    def read(cls, seen: Mapping[str, float | None]) -> Self | None:
        """Read what the tool says in microseconds; None when it saw none."""
        p50, p99 = seen["p50"], seen["p99"]
        return None if p50 is None or p99 is None else cls(p50 / 1000, p99 / 1000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients saw."""

    requests: int
    errors: int
    statuses: Mapping[str, int]
    """How many responses had each status."""
    seconds: float
    chunks: int
    latency: Spread | None
    first_byte: Spread | None
    chunk_delay: Spread | None

    @property
    def responded(self) -> int:
        """How many responses are charged for."""
        return self.statuses.get("200", 0)

    @classmethod
    def read(cls, output: bytes) -> Self:
        """Read what the tool prints."""
        seen = cast("dict[str, Any]", json.loads(output))  # pyright: ignore[reportExplicitAny] - JSON
        return cls(
            requests=seen["requests"],
            errors=seen["errors"],
            statuses=seen["statuses"],
            seconds=seen["seconds"],
            chunks=seen["chunks"],
            latency=Spread.read(seen["latency_us"]),
            first_byte=Spread.read(seen["first_byte_us"]),
            chunk_delay=Spread.read(seen["chunk_delay_us"]),
        )


@dataclass(frozen=True, slots=True)
class Loader:
    """The tool, and where it runs."""

    program: Path
    folder: Path
    cores: frozenset[int]
    _bodies: dict[bytes, Path] = field(default_factory=dict)

    async def run(self, load: Load, subject: Subject, seconds: float) -> Seen:
        """Put a load on a subject, for so long if the load has no number of requests.

        Raises:
            LoadFailed: the tool failed, or the responses take far too long.

        """
        until = ("--seconds", f"{seconds:g}")
        if load.requests is not None:
            until = ("--requests", str(load.requests))
        limit_s = _LATE_S + (seconds if load.requests is None else _LATE_S)
        async with self._started((*self._command(load, subject), *until)) as process:
            output = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    output, _ = await process.communicate()
            if process.returncode != 0:
                msg = f"the load did not end as it should ({process.returncode})"
                raise LoadFailed(msg)
            return Seen.read(output)

    @asynccontextmanager
    async def held_open(self, load: Load, subject: Subject) -> AsyncGenerator[None]:
        """Open all streams of a load, and keep them open meanwhile.

        Raises:
            LoadFailed: not all of them could be opened.

        """
        async with self._started((*self._command(load, subject), "--hold")) as process:
            assert process.stdout
            line = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(_OPEN_S):
                    line = await process.stdout.readline()
            opened = json.loads(line or b"{}").get("open")
            if opened != load.connections:
                msg = f"{opened} of {load.connections} streams could be opened"
                raise LoadFailed(msg)
            yield

    @asynccontextmanager
    async def _started(self, command: tuple[str, ...]) -> AsyncGenerator[Process]:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        move_to(self.cores, [process.pid])
        try:
            yield process
        finally:
            await asyncio.shield(asyncio.ensure_future(end(process)))

    def _command(self, load: Load, subject: Subject) -> tuple[str, ...]:
        command = [
            *(str(self.program), "--port", str(subject.port), "--path", subject.root + load.path),
            *("--connections", str(load.connections), "--expect", str(load.expect)),
            *("--body", str(self._body(_written_for(subject, load.body)))),
            *("--keys", str(subject.keys(load.keys))),
        ]
        for header in subject.headers:
            command += ["--header", header]
        if load.streams:
            command.append("--stream")
        if load.per_s is not None:
            command += ["--rate", str(load.per_s)]
        return tuple(command)

    def _body(self, body: bytes) -> Path:
        if body not in self._bodies:
            file = self.folder / f"body-{len(self._bodies)}.json"
            _ = file.write_bytes(body)
            self._bodies[body] = file
        return self._bodies[body]


def _written_for(subject: Subject, body: bytes) -> bytes:
    return body.replace(b'"model": "', b'"model": "' + subject.model_prefix.encode(), 1)
