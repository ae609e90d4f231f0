"""A POST to an address that a user has given, once, and what came of it.

It must reach no machine that only this one can reach: the name is looked up here, an address that
is not public is refused, and the connection goes to the address that was checked. Redirects are
not followed. The answer's body is not read. Names are looked up in threads of their own: a name
server of a user, which may let them wait, must not keep the threads of anything else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import httpx2

from tokenbalance.wire.upstream.dialing import USUAL_PORTS, trusting_context

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S: Final = 20.0
"""Of the whole attempt."""
_DONE: Final = range(200, 300)
_LOOKUPS: Final = 4
"""Names that are looked up at once."""
_INTERNET: Final = ipaddress.IPv6Network("2000::/3")
"""All IPv6 addresses of the public Internet are of this network."""
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses, as hosts without IPv4 reach them (RFC 6052)."""


class NotDelivered(Exception):
    """It did not arrive; the message is one line for people, without a secret."""


class Callbacks:
    """Sends bodies to addresses of users."""

    def __init__(self, *, to_private: bool = False) -> None:
        """Begin without a connection.

        Args:
            to_private: whether addresses that are not public may be reached.

        """
        self._to_private = to_private
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="callbacks")
        self._transport = httpx2.AsyncHTTPTransport(verify=trusting_context(), trust_env=False)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Send one body.

        Raises:
            NotDelivered: nobody took it: no connection, an address that is not public, no response
                in time, or a status other than 2xx.

        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._send(url, headers, body)
        except TimeoutError:
            msg = f"no response within {TIMEOUT_S:.0f} seconds"
            raise NotDelivered(msg) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            msg = f"no response: {type(error).__name__}"
            raise NotDelivered(msg) from None
        if status not in _DONE:
            msg = f"the response was {status}"
            raise NotDelivered(msg)

    async def close(self) -> None:
        """Close every connection; a lookup in progress is left alone."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._transport.aclose()

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or USUAL_PORTS[parts.scheme]
        address = await self._address_of(host, port)
        at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        request = httpx2.Request(
            "POST",
            urlunsplit((parts.scheme, at, parts.path or "/", parts.query, "")),
            headers={"host": parts.netloc, "content-type": "application/json", **headers},
            content=body,
            extensions={"sni_hostname": host, "timeout": {"connect": TIMEOUT_S}},
        )
        response = await self._transport.handle_async_request(request)
        await response.aclose()
        return response.status_code

    async def _address_of(self, host: str, port: int) -> str:
        """Look up an address that may be reached.

        Raises:
            NotDelivered: there is none.
            OSError: the name cannot be looked up.

        """
        loop = asyncio.get_running_loop()
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(self._threads, look_up)
        for *_, place in found:
            if self._to_private or is_public(str(place[0])):
                return str(place[0])
        msg = "its address is not public"
        raise NotDelivered(msg)


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet, also as IPv4 in IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner:
            return inner.is_global and not inner.is_multicast
        return ip.is_global and ip in _INTERNET
    return ip.is_global and not ip.is_multicast
