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

    async def connect(self) -> Connection:
        """Connect to the first server that works, starting with the one that worked last.

        Raises:
            OSError: no server answered in time, or all refused.
            asyncpg.PostgresError: the last server refused the session.

        """
        *others, last = self._dsns
        for other in others:
            with suppress(*_NEXT_HOST):
                return await self._connect(other)
        return await self._connect(last)

    async def _connect(self, dsn: str) -> Connection:
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
    """A connection, and what the one that lends it notes of it."""

    generation: int = 0
    """How often the connections had expired when it was opened."""
    uses: int = 0
    """How often it was lent."""
    free_since_s: float = 0.0
    """On the event loop's clock, while it is free."""
