"""From the upstream's URL to a connection: its addresses, the race between them, and TLS.

It must never send a byte of a request, nor accept a certificate that no authority has signed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.wire.upstream.faults import too_late, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from tokenbalance.wire.upstream.connection import Connection

USUAL_PORTS: Final = {"http": 80, "https": 443}
CONNECT_TIMEOUT_S: Final = 10.0
ADDRESSES_LAST_S: Final = 10.0
"""How long a lookup is cached: connections are opened many at once, or not at all."""
NEXT_ADDRESS_S: Final = 0.25
"""How long one address is tried before the next one is as well (RFC 8305 section 5)."""

_Address: TypeAlias = tuple[
    socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]


def trusting_context() -> ssl.SSLContext:
    """TLS that trusts the system's authorities, for HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections to one upstream."""

    def __init__(self, base_url: SplitResult) -> None:
        self._host: str = base_url.hostname or ""
        self._port: int = base_url.port or USUAL_PORTS[base_url.scheme]
        is_secure = base_url.scheme == "https"
        self._tls: ssl.SSLContext | None = trusting_context() if is_secure else None
        self._addresses: list[_Address] = []
        self._good_until_s: float = 0.0
        self._looking_up: asyncio.Lock = asyncio.Lock()

    async def dial(self, make_connection: Callable[[], Connection]) -> Connection:
        """Open one connection.

        Raises:
            UpstreamUnavailable: nothing listens there, or its certificate is not trusted.
            UpstreamTimeout: no connection in time.

        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    make_connection,
                    sock=await self._connect(),
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError as error:
            raise too_late() from error
        except (OSError, ValueError) as error:
            raise unreachable() from error
        return connection

    async def _connect(self) -> socket.socket:
        addresses = await self._look_up()
        if len(addresses) == 1:
            return await _connect_to(addresses[0])
        attempts = [partial(_connect_to, address) for address in addresses]
        race = await staggered_race(attempts, NEXT_ADDRESS_S)
        connected, errors = cast("socket.socket | None", race[0]), race[2]
        if connected is None:
            self._good_until_s = 0.0
            raise next(error for error in errors if error is not None)
        return connected

    async def _look_up(self) -> list[_Address]:
        """Look up the addresses, one lookup at a time."""
        loop = asyncio.get_running_loop()
        async with self._looking_up:
            if loop.time() >= self._good_until_s:
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._addresses = [(family, address) for family, _, _, _, address in found]
                self._good_until_s = loop.time() + ADDRESSES_LAST_S
            return self._addresses


async def _connect_to(address: _Address) -> socket.socket:
    family, where = address
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)  # noqa: FBT003 - the socket's own name for it
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, where)
    except BaseException:
        connecting.close()
        raise
    return connecting
