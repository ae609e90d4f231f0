"""A TCP proxy that fails on command, to stand in front of the database or the upstream.

    async with (
        FaultProxy(database_target(dsn)) as proxy,
        serving(dsn_through(proxy, dsn), upstream.base_url) as url,
    ):
        proxy.black_hole()  # nothing passes, and neither side can see it
        ...
        proxy.heal()

Each fault affects open and new connections at once and lasts until `heal`; several may be combined.
Owns how bytes pass between two sockets, and never looks at what they mean. It only needs a running
event loop, so it can be used outside of tests too.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from dataclasses import dataclass, field
from typing import Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

Target: TypeAlias = str | tuple[str, int]
"""Where the server listens: the path of a Unix socket, or host and port."""

_READ_BYTES = 64 * 1024
_LINGER_FOR_NO_TIME = struct.pack("ii", 1, 0)
"""The socket option that turns a close into a reset."""


class Direction(enum.Enum):
    """The direction of bytes."""

    TO_SERVER = "requests"
    TO_CLIENT = "answers"
    BOTH = "both"


class FaultProxy:
    """Passes bytes between clients and one server, with the faults that are set."""

    def __init__(self, target: Target) -> None:
        self.port = 0
        """The port on 127.0.0.1; it stays the same after `heal`."""
        self.accepted = 0
        """How many connections were accepted so far."""
        self.dropped = asyncio.Event()
        """Set when a response was dropped."""
        self._target = target
        self._lanes = {Direction.TO_SERVER: _Lane(), Direction.TO_CLIENT: _Lane()}
        self._drops_responses = False
        self._resets = False
        self._cut_after: _Cut | None = None
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._refuse()
        self._end_links(reset=True)
        for task in self._links:
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return sum(not link.ended for link in self._links.values())

    def delay(self, latency_s: float, direction: Direction = Direction.BOTH) -> None:
        """Delay every piece for that long."""
        for lane in self._lanes_of(direction):
            lane.latency_s = latency_s

    def slice(self, piece_bytes: int, direction: Direction = Direction.BOTH) -> None:
        """Pass bytes on in pieces of that size."""
        for lane in self._lanes_of(direction):
            lane.piece_bytes = piece_bytes

    def black_hole(self, direction: Direction = Direction.BOTH) -> None:
        """Keep connections and accept new ones, but pass nothing on until `heal`."""
        for lane in self._lanes_of(direction):
            lane.flows.clear()

    def drop_responses(self) -> None:
        """Pass requests but lose responses; `heal` resets the connections that lost one."""
        self._drops_responses = True

    def cut(self) -> None:
        """Close every connection cleanly and refuse new ones."""
        self._refuse()
        self._end_links(reset=False)

    def reset(self) -> None:
        """Reset every connection, and new ones as soon as they are accepted."""
        self._resets = True
        self._end_links(reset=True)

    def cut_after(self, response_bytes: int, *, reset: bool = False) -> None:
        """End each connection once that many more bytes of its responses have passed.

        With 0, as soon as the first byte of a response arrives here.
        """
        self._cut_after = _Cut(response_bytes, reset)
        for link in self._links.values():
            link.cut = _Cut(response_bytes, reset)

    def heal(self) -> None:
        """End every fault."""
        for lane in self._lanes_of(Direction.BOTH):
            lane.latency_s, lane.piece_bytes = 0.0, None
            lane.flows.set()
        self._drops_responses = self._resets = False
        self._cut_after = None
        self.dropped.clear()
        for link in self._links.values():
            link.cut = None
            if link.lost_a_response:
                link.end(reset=True)
        if self._listener is None:
            self._listen()

    def _lanes_of(self, direction: Direction) -> list[_Lane]:
        return [lane for way, lane in self._lanes.items() if direction in {way, Direction.BOTH}]

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _refuse(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _end_links(self, *, reset: bool) -> None:
        for link in self._links.values():
            link.end(reset=reset)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # the client has already left
        connection.settimeout(0)
        self.accepted += 1
        link = _Link(cut=self._cut_after and _Cut(self._cut_after.left, self._cut_after.reset))
        if self._resets:
            link.end(reset=True)
        task = asyncio.get_running_loop().create_task(self._serve(link, connection))
        self._links[task] = link
        task.add_done_callback(self._links.pop)

    async def _serve(self, link: _Link, connection: socket.socket) -> None:
        from_client, to_client = await asyncio.open_connection(sock=connection)
        link.add(to_client)
        try:
            if link.ended:
                return
            if isinstance(self._target, str):
                from_server, to_server = await asyncio.open_unix_connection(self._target)
            else:
                from_server, to_server = await asyncio.open_connection(*self._target)
            link.add(to_server)
            await asyncio.gather(
                self._pump(link, Direction.TO_SERVER, from_client, to_server),
                self._pump(link, Direction.TO_CLIENT, from_server, to_client),
            )
        except OSError:
            link.end(reset=True)
        finally:
            link.end(reset=False)

    async def _pump(
        self,
        link: _Link,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass the bytes of one direction, then its end."""
        lane = self._lanes[direction]
        try:
            while data := await reader.read(_READ_BYTES):
                await asyncio.sleep(lane.latency_s)
                await lane.flows.wait()
                if direction is Direction.TO_CLIENT:
                    await self._respond(link, lane, writer, data)
                else:
                    await lane.write(writer, data)
            await lane.flows.wait()
            if direction is Direction.TO_CLIENT and self._drops_responses:
                link.lost_a_response = True
            elif not link.ended:
                writer.write_eof()
        except OSError:
            # A reset of one side is passed on to the other.
            link.end(reset=True)

    async def _respond(
        self, link: _Link, lane: _Lane, writer: asyncio.StreamWriter, data: bytes
    ) -> None:
        if self._drops_responses:
            link.lost_a_response = True
            self.dropped.set()
            return
        cut = link.cut
        if cut is None:
            await lane.write(writer, data)
            return
        passing = data[: cut.left]
        cut.left -= len(passing)
        await lane.write(writer, passing)
        if cut.left == 0:
            link.end(reset=cut.reset)


@dataclass(slots=True)
class _Cut:
    """How many more response bytes pass before the end, and how the connection ends."""

    left: int
    reset: bool


@dataclass(slots=True)
class _Lane:
    """The current faults of one direction, for all connections."""

    latency_s: float = 0.0
    piece_bytes: int | None = None
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flows.set()

    async def write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.piece_bytes or max(len(data), 1)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            # One turn of the loop, so that a reader in it gets the pieces one by one.
            await asyncio.sleep(0)


@dataclass(slots=True)
class _Link:
    """The connection of one client, and its connection to the server."""

    cut: _Cut | None = None
    lost_a_response: bool = False
    ended: bool = False
    _reset: bool = False
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def add(self, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self.ended:
            _end(writer, reset=self._reset)

    def end(self, *, reset: bool) -> None:
        if self.ended and not reset:
            return
        self.ended, self._reset = True, reset
        for writer in self._writers:
            _end(writer, reset=reset)


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if not reset:
        writer.close()
        return
    connection: socket.socket = writer.get_extra_info("socket")
    if connection.family is not socket.AF_UNIX and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NO_TIME)
    writer.transport.abort()


def database_target(dsn: str) -> Target:
    """Where the server of a `postgresql://` DSN listens."""
    parts = urlsplit(dsn)
    if parts.hostname:
        return parts.hostname, parts.port or 5432
    options = parse_qs(parts.query)
    return f"{options['host'][0]}/.s.PGSQL.{options.get('port', ['5432'])[0]}"


def dsn_through(proxy: FaultProxy, dsn: str) -> str:
    """The DSN of the same database through the proxy."""
    parts = urlsplit(dsn)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    # A server on a Unix socket has no TLS; asking for it would cost a round trip.
    return f"postgresql://{user}127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"


def url_target(url: str) -> Target:
    """Where the server of an `http://` URL listens."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def url_through(proxy: FaultProxy, url: str) -> str:
    """The same URL, through the proxy."""
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
