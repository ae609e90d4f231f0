"""Clients that make objects, and whose these are: no id that its maker saw is without an owner.

Conversations are made by requests that cost nothing, responses by those that are charged, streamed
or not. What a client saw of an id, in a whole response or in a part of it, has to be its own
account's when everything has been started again, and nobody else's.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp

from tokenbalance.openai import find_operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.replicas import Replica
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

PATIENCE_S: Final = 20.0
QUIET_S: Final = 15.0
"""How long it may take until the journals of dead processes are adopted."""
_POLL_S: Final = 0.5
_ID: Final = re.compile(rb'"id": ?"((?:conv|resp|msg)_[0-9a-z]+)"')
_KINDS: Final = {b"conv": "conversation", b"resp": "response", b"msg_": "item"}
_ASKED_OF_OTHERS: Final = 20
"""How many objects somebody else asks for, each time."""
_NOT_FOUND: Final = 404
FIRST_NUMBER: Final = 10**9
"""Numbers of these requests, so that they are none of the other clients'."""


@dataclass(slots=True)
class Makers:
    """Makes objects at several replicas, and remembers which ids were seen by whom."""

    replicas: Sequence[Replica]
    holders: Sequence[Holder]
    seed: int
    seen: dict[tuple[str, str], Holder] = field(default_factory=dict)
    """By kind and id."""
    made: int = 0
    """How many requests were sent."""

    async def load(self, per_s: float, lasting_s: float) -> None:
        """Send requests at this rate for this long, and read what comes until it breaks off."""
        chance = random.Random(f"{self.seed} makers {self.made}")
        clock = asyncio.get_running_loop().time
        end = clock() + lasting_s
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            while clock() < end:
                self.made += 1
                _ = tasks.create_task(self._make(session, self.made, chance))
                await asyncio.sleep(chance.expovariate(per_s))

    async def _make(
        self, session: aiohttp.ClientSession, number: int, chance: random.Random
    ) -> None:
        holder, replica = chance.choice(self.holders), chance.choice(self.replicas)
        path, document = _request(number, chance)
        received = b""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            url, headers = f"{replica.url}/v1{path}", holder.headers
            async with session.post(url, json=document, headers=headers) as response:
                async for chunk in response.content.iter_any():
                    received += chunk
                    self._note(received, holder)

    def _note(self, received: bytes, holder: Holder) -> None:
        for match in _ID.finditer(received):
            self.seen[_KINDS[match[1][:4]], match[1].decode()] = holder

    async def breaches(self, pool: Pool) -> list[str]:
        """Look whose the objects are, in the table and by asking for those of others."""
        found: list[str] = []
        for _ in range(round(QUIET_S / _POLL_S)):
            found = await self._without_owner(pool)
            if not found:
                break
            await asyncio.sleep(_POLL_S)
        return found + await self._found_by_others()

    async def _without_owner(self, pool: Pool) -> list[str]:
        rows = await pool.fetch("SELECT kind, object_id, account_id FROM objects", deadline_s=60)
        owners: Mapping[tuple[str, str], int] = {(row[0], row[1]): row[2] for row in rows}
        return [
            f"{kind} {name} was seen by account {holder.account_id}, its owner is"
            f" {owners.get((kind, name), 'nobody')}"
            for (kind, name), holder in self.seen.items()
            if owners.get((kind, name)) != holder.account_id
        ]

    async def _found_by_others(self) -> list[str]:
        found: list[str] = []
        conversations = [key for key in self.seen if key[0] == "conversation"]
        async with aiohttp.ClientSession() as session:
            for kind, name in conversations[-_ASKED_OF_OTHERS:]:
                maker = self.seen[kind, name]
                other = next(each for each in self.holders if each is not maker)
                url = f"{self.replicas[0].url}/v1/conversations/{name}"
                async with session.get(url, headers=other.headers) as response:
                    if response.status != _NOT_FOUND:
                        found.append(f"{name} was found by another account: {response.status}")
        return found


def _request(number: int, chance: random.Random) -> tuple[str, dict[str, object]]:
    if not _ARE_RESPONSES_OWNED or chance.random() < 0.5:  # noqa: PLR2004 - every other one
        return "/conversations", {"metadata": {"number": str(number)}}
    # Its name has the place and the form that the upstream expects.
    model = f"gpt-4o-mini-json-{FIRST_NUMBER + number}"
    stream = {"stream": True} if chance.random() < 0.5 else {}  # noqa: PLR2004 - as above
    return "/responses", {"model": model, "input": "Hi", "max_output_tokens": 16, **stream}


_ARE_RESPONSES_OWNED: Final = bool(find_operation("POST", b"/responses").creates)
