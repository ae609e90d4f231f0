"""What people change while requests run: credits, grants with ends, allowances, teams and members.

    accounts    poor ones get top-ups, others grants that end within seconds, or an allowance
    credits     move between users and the team, in both directions
    the team    a member is removed, tried at every replica, and comes back with a new key; another
                one is disabled and enabled

Which is changed when follows from the seed. A change that a fault has swallowed may have been made
or not, so none depends on the one before.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from benchmarks.clients import TOP_UP
from tests.support.books import Holder
from tokenbalance.books.grants.issuing import NewGrant, issue
from tokenbalance.books.ledger.credits import Cause, CreditError, add
from tokenbalance.books.ledger.transfers import transfer
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.model import Actor
from tokenbalance.people.keys import create_key
from tokenbalance.people.teams.errors import AlreadyMember, UnknownMember
from tokenbalance.people.teams.members import add_member, change_member, remove_member

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.clients import Clients
    from benchmarks.cohort import Cohort
    from tokenbalance.database.connections import Sessions

EVERY_S: Final = 0.4
WITHIN_S: Final = 3.0
"""A change that takes longer is given up."""
ENDING_S: Final = (1.0, 6.0)
"""How long granted credits last."""
GRANT: Final = 200
MOVED: Final = 150
BY: Final = Actor("benchmarks")
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE, None})
"""What a removed member receives: 503 and nothing at all are those of a fault."""


@dataclass(slots=True)
class Changes:
    """Changes of the accounts of clients."""

    clients: Clients
    cohort: Cohort
    sessions: Sessions
    seed: int
    made: Counter[str] = field(default_factory=Counter)
    """How many of each kind were made, without those that a fault may have swallowed."""
    breaches: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Change something now and then, until cancelled."""
        chance = random.Random(f"{self.seed} changes")
        kinds: dict[str, Callable[[random.Random], Awaitable[None]]] = {
            "top-ups": self._top_up,
            "grants with an end": self._grant,
            "transfers": self._move,
            "members removed and added": self._replace,
            "members disabled and enabled": self._suspend,
        }
        while True:
            await asyncio.sleep(chance.uniform(0, 2 * EVERY_S))
            name = chance.choices(list(kinds), (3, 4, 6, 1, 1))[0]
            try:
                async with asyncio.timeout(WITHIN_S):
                    await kinds[name](chance)
                self.made[name] += 1
            except CreditError:
                self.made[f"refused {name}"] += 1
            except (*UNAVAILABLE, DBAPIError):
                continue

    async def _top_up(self, chance: random.Random) -> None:
        account = chance.choice(self.clients.poor).account_id
        async with self.sessions.begin() as session:
            _ = await add(session, account, TOP_UP, Cause(BY))

    async def _grant(self, chance: random.Random) -> None:
        account = chance.choice(self.cohort.granted)
        end = datetime.now(UTC) + timedelta(seconds=chance.uniform(*ENDING_S))
        new = NewGrant(amount=GRANT, expires_at=end, priority=chance.choice((10, 50)))
        async with self.sessions.begin() as session:
            _ = await issue(session, account, new, Cause(BY))

    async def _move(self, chance: random.Random) -> None:
        team = self.cohort.team_id
        other = chance.choice((*self.cohort.granted[:-1], *self.cohort.own_accounts))
        sender, receiver = (team, other) if chance.random() < 1 / 2 else (other, team)
        async with self.sessions.begin() as session:
            _ = await transfer(session, sender, receiver, chance.randint(1, MOVED), Cause(BY))

    async def _replace(self, chance: random.Random) -> None:
        """Remove a member, try the old key, and let the member come back."""
        seat = self.cohort.seats[0]
        old = self.clients.holders[seat]
        team = self.cohort.team_id
        try:
            async with self.sessions.begin() as session:
                _ = await remove_member(session, team, old.user_id, actor=BY)
        except UnknownMember:
            pass
        else:
            await self._try_removed(old)
        await asyncio.sleep(chance.uniform(0, 1 / 2))
        try:
            async with self.sessions.begin() as session:
                _ = await add_member(
                    session,
                    team,
                    old.user_id,
                    "member",
                    self.cohort.of_member,
                    by_superuser=True,
                    actor=BY,
                )
        except AlreadyMember:
            pass
        async with self.sessions.begin() as session:
            key, secret = await create_key(
                session, team, user_id=old.user_id, project_id=self.cohort.project_id, actor=BY
            )
        self.clients.holders[seat] = Holder(old.user_id, team, key.id, secret)

    async def _try_removed(self, old: Holder) -> None:
        for replica in range(len(self.clients.replicas)):
            tried = await self.clients.try_key(old, replica)
            if tried.status not in _REFUSED:
                self.breaches.append(
                    f"key {old.key_id} of a member who was removed: replica {replica} responded"
                    f" {tried.status} {tried.code}"
                )

    async def _suspend(self, chance: random.Random) -> None:
        member = self.clients.holders[self.cohort.seats[1]].user_id
        for is_active in (False, True):
            async with self.sessions.begin() as session:
                _ = await change_member(
                    session, self.cohort.team_id, member, is_active=is_active, actor=BY
                )
            await asyncio.sleep(chance.uniform(0, 1 / 2))
