"""Whatever happens to an account, its books are sound and an end takes no more than it may."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, place
from tests.support.grants import CAUSE, catch_up, enter_all_due, grant, pass_time, remains
from tokenbalance.books.grants.allowances import NewAllowance, create
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import CreditError, add, set_balance
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.books.ledger.transfers import transfer
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Hold

STEPS = 60


@dataclass
class Life:
    """An account, and what may happen to it."""

    chance: random.Random
    pool: Pool
    sessions: Sessions
    holder: Holder
    other: Holder
    holds: list[Hold] = field(default_factory=list["Hold"])
    requests: list[str] = field(default_factory=list[str])

    async def step(self, number: int) -> None:
        action = self.chance.choices(
            (
                self.grants,
                self.allows,
                self.adds,
                self.sets,
                self.moves,
                self.holds_,
                self.settles,
                self.refunds,
                self.waits,
                self.looks,
                self.sweeps,
            ),
            (2, 0.3, 1, 0.5, 2, 6, 6, 2, 3, 1, 1),
        )[0]
        await action(number)

    async def grants(self, _number: int) -> None:
        days = self.chance.choice((None, 0.5, 2, 5))
        priority = self.chance.choice((50, 50, 1))
        _ = await grant(
            self.sessions, self.holder, self.chance.randint(1, 90), days=days, priority=priority
        )

    async def allows(self, _number: int) -> None:
        begun = datetime.now(UTC) - timedelta(hours=self.chance.randint(1, 20))
        every = self.chance.choice(("day", "week"))
        rollover = self.chance.choice((0, 0, 20, 500))
        new = NewAllowance(amount=50, every=every, starts_at=begun, rollover_max=rollover)
        async with self.sessions.begin() as session:
            _ = await create(session, self.holder.account_id, new, CAUSE)

    async def adds(self, _number: int) -> None:
        amount = self.chance.choice((-20, 5, 30))
        try:
            async with self.sessions.begin() as session:
                _ = await add(session, self.holder.account_id, amount, CAUSE)
        except CreditError:
            pass

    async def sets(self, _number: int) -> None:
        async with self.sessions.begin() as session:
            target = self.chance.randint(0, 100)
            _ = await set_balance(session, self.holder.account_id, target, CAUSE)

    async def moves(self, _number: int) -> None:
        accounts = self.holder.account_id, self.other.account_id
        sender, receiver = accounts if self.chance.random() < 1 / 2 else accounts[::-1]
        ending = await self._ending()
        try:
            async with self.sessions.begin() as session:
                _ = await transfer(session, sender, receiver, self.chance.randint(1, 60), CAUSE)
        except CreditError:
            pass
        assert await self._ending() == ending

    async def _ending(self) -> int:
        await catch_up(self.sessions, self.holder)
        return await self.pool.fetchval(
            "SELECT coalesce(sum(remaining), 0) FROM grants WHERE expires_at IS NOT NULL"
        )

    async def holds_(self, number: int) -> None:
        hold = await place(Book(self.pool), self.holder, f"tb_{number}", self.chance.randint(1, 60))
        if hold is not None:
            self.holds.append(hold)

    async def settles(self, _number: int) -> None:
        if self.holds:
            hold = self.holds.pop(self.chance.randrange(len(self.holds)))
            used = self.chance.randint(0, hold.amount)
            assert await Book(self.pool).settle(hold, Usage({"input": used}, total=used))
            self.requests.append(hold.request_id)

    async def refunds(self, _number: int) -> None:
        if self.requests:
            try:
                async with self.sessions.begin() as session:
                    amount = self.chance.choice((None, 3))
                    request = self.chance.choice(self.requests)
                    _ = await refund(session, request, amount, CAUSE)
            except CreditError:
                pass

    async def waits(self, _number: int) -> None:
        await pass_time(self.pool, self.holder, self.chance.choice((0.01, 0.3, 1, 3)))

    async def looks(self, _number: int) -> None:
        left = sum((await remains(self.sessions, self.holder)).values())
        account = await account_of(self.pool, self.holder)
        grants = await self.pool.fetchval("SELECT count(*) FROM grants")
        assert left == max(account.balance, 0) or grants == 0

    async def sweeps(self, _number: int) -> None:
        _ = await enter_all_due(self.pool)


@pytest.mark.parametrize("seed", range(2))
async def test_an_account_is_sound_whatever_happens_to_it(
    pool: Pool, sessions: Sessions, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    holder = await create_holder(pool, 40, overdraft=chance.choice((0, 30)))
    life = Life(chance, pool, sessions, holder, await create_holder(pool, 40))
    for number in range(STEPS):
        await life.step(number)
        row = await pool.fetchrow("SELECT balance, held, overdraft FROM accounts ORDER BY id")
        assert row is not None
        assert row["balance"] + row["overdraft"] - row["held"] >= 0
        assert (await audit(pool)).violations == []
    for hold in life.holds:
        assert await Book(pool).settle(hold, Usage({"input": 0}, total=0))
    await pass_time(pool, holder, 99)
    await catch_up(sessions, holder)
    ended = await pool.fetchval(
        "SELECT coalesce(sum(remaining), 0) FROM grants WHERE expires_at <= now()"
    )
    assert ended == 0
    assert (await audit(pool)).violations == []
