"""Opening a connection: to the first server of a DSN that answers and fits.

Owns which of several hosts is tried first. It must never run a statement.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

import asyncpg

from tokenbalance.database.connections.routes import connect

_NEXT_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)


class Hosts:
    """The servers that a DSN names. Each gets a share of the time, because one may not answer."""

    def __init__(self, dsn: str, name: str, timeout_s: float) -> None:
        self._dsns = one_host_each(dsn)
        self._name = name
        self._timeout_s = timeout_s / len(self._dsns)

    async def connect(
        self, *_arguments: object, **_options: object
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Connect to the first server that works, starting with the one that worked last.

        The arguments are those of asyncpg's pool; they add nothing to what is known here.

        Raises:
            OSError: no server answered in time, or all refused.
            asyncpg.PostgresError: the last server refused the session.

        """
        *others, last = self._dsns
        for other in others:
            with suppress(*_NEXT_HOST):
                return await self._connect(other)
        return await self._connect(last)

    async def _connect(self, dsn: str) -> asyncpg.Connection[asyncpg.Record]:
        connection = await connect(
            dsn, timeout_s=self._timeout_s, name=self._name, connection_class=Connection
        )
        self._dsns = [dsn, *(other for other in self._dsns if other != dsn)]
        return connection


def one_host_each(dsn: str) -> list[str]:
    """Split a DSN of several hosts into one for each; anything but a URL is left to asyncpg."""
    parts = re.fullmatch(r"(\w+://(?:[^/?#]*@)?)([^/?#@]*,[^/?#@]*)((?:[/?#].*)?)", dsn, re.DOTALL)
    if parts is None:
        return [dsn]
    before, hosts, after = parts.groups()
    return [f"{before}{host}{after}" for host in hosts.split(",")]


class Connection(asyncpg.Connection):
    """A connection that is closed at once, unless its `close` is given a timeout.

    asyncpg's pool closes expired connections politely and waits for the server to confirm, which a
    stopped server never does. To Postgres the end of the stream means the same.
    """

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """Close it: at once, or politely within `timeout` seconds."""
        if timeout is None:
            self.terminate()
        else:
            await super().close(timeout=timeout)
