"""Rerate: requests of the past get the prices of another card, by one adjusting entry each.

    read      the charged requests of an account, page by page, without any lock
    price     each with the card (`rerate_prices`)
    post      the differences, in one short transaction that locks the account: only for requests
              that nothing was entered for since they were read; the others are read again

Every page is committed by itself, and what was posted changes what the next one reads: so a rerate
can be ended at any point and run again, or twice at once, and posts each difference once. Requests
go on meanwhile, those that end after it has begun are left. A balance may fall below the overdraft,
as by any correction: what was used is due, whoever holds credits at the moment.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import orjson
from sqlalchemy import func, select

from tokenbalance.books.ledger.rerate_prices import Charged, NewPrices, NoPrice, Price
from tokenbalance.books.ledger.rerate_totals import Totals, Unpriced
from tokenbalance.books.ledger.traces import Rerated, record_rerate
from tokenbalance.books.reports.ids import Ids, ids_of
from tokenbalance.database import statements
from tokenbalance.database.tables import Account, LedgerEntry, User
from tokenbalance.database.whose import EMAIL, TEAM
from tokenbalance.events import Subject
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from sqlalchemy import Row

    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.books.reports.period import Period
    from tokenbalance.database.connections import Sessions

PAGE_ROWS: Final = 1000
"""Requests that are read, and at most posted, at once."""
_ACCOUNTS_AT_ONCE: Final = 1000
_TRIES_MAX: Final = 5
"""How often requests are read again for which something was entered meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RerateQuery:
    """Which requests get which prices."""

    period: Period
    """When they ended."""
    card: RateCard
    cause: Cause
    """Who does it; the note says with which card."""
    account_id: int | None = None
    """None: all accounts."""


@dataclass(frozen=True, slots=True)
class Payer:
    """An account after a rerate, or as it would be."""

    account_id: int
    email: str
    """Of its user; empty: it is a team's."""
    team: str
    """The name of the team; empty: it is a user's."""
    balance: int

    @property
    def name(self) -> str:
        """Whose it is, for people."""
        return self.email or self.team


class _Owner(NamedTuple):
    account_id: int
    user_id: int | None


class _Posting(NamedTuple):
    """A request and its new price."""

    request: Charged
    price: Price

    @property
    def amount(self) -> int:
        """Credits for the balance of the account."""
        return self.request.charge - self.price.charge


class Rerate:
    """One rerate."""

    def __init__(
        self,
        sessions: Sessions,
        query: RerateQuery,
        *,
        post: bool,
        report: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare it.

        Args:
            sessions: each page has a transaction of its own.
            query: which requests, and the card.
            post: enter the differences; otherwise only find them.
            report: called with the number of requests that were looked at so far.

        """
        self.totals = Totals()
        self._sessions = sessions
        self._query = query
        self._prices = NewPrices(query.card)
        self._post = post
        self._report = report

    async def run(self) -> Totals:
        """Go through all requests; returns their totals, which grow meanwhile."""
        ids = await self._range()
        seen = 0
        async for owner in self._owners(ids):
            after = ids.after
            while page := await self._read(owner, replace(ids, after=after)):
                await self._rerate_page(owner, page)
                after = page[-1].row
                seen += len(page)
                self._report(seen)
                if len(page) < PAGE_ROWS:
                    break
        return self.totals

    async def top_payers(self) -> list[Payer]:
        """Name the accounts whose cost changes most, the largest change first."""
        top = [account_id for account_id, _ in self.totals.top_accounts()]
        payers = {payer.account_id: payer for payer in await self._payers(top)}
        return [payers[account_id] for account_id in top]

    async def overdrawn(self) -> list[Payer]:
        """Name the accounts that pay more and whose balance is below 0, or would be."""
        paying = [
            account_id for account_id, cost in self.totals.accounts.items() if cost.difference > 0
        ]
        paying.sort()
        found: list[Payer] = []
        for start in range(0, len(paying), _ACCOUNTS_AT_ONCE):
            some = await self._payers(paying[start : start + _ACCOUNTS_AT_ONCE])
            found += [payer for payer in some if payer.balance < 0]
        return found

    async def _range(self) -> Ids:
        """Find the rows of the ledger among which the ends are; later ones are left."""
        async with self._sessions() as session:
            (ids,) = await ids_of(session, self._query.period)
            last = await session.scalar(select(func.max(LedgerEntry.id)))
        return ids if ids.upto is not None else replace(ids, upto=last or 0)

    async def _owners(self, ids: Ids) -> AsyncGenerator[_Owner]:
        """List the accounts that may have requests among these, in batches."""
        if self._query.account_id is not None:
            one = select(Account.user_id).where(Account.id == self._query.account_id)
            async with self._sessions() as session:
                user_id = (await session.scalars(one)).one()
            yield _Owner(self._query.account_id, user_id)
            return
        after = 0
        while True:
            rows = await self._fetch(
                statements.RERATED_ACCOUNTS, after, ids.after, ids.upto, _ACCOUNTS_AT_ONCE
            )
            owners = [_Owner(*cast("tuple[int, int | None]", tuple(row))) for row in rows]
            for owner in owners:
                yield owner
            if len(owners) < _ACCOUNTS_AT_ONCE:
                return
            after = owners[-1].account_id

    async def _read(self, owner: _Owner, ids: Ids) -> list[Charged]:
        period = self._query.period
        rows = await self._fetch(
            statements.CHARGED,
            owner.account_id,
            ids.after,
            ids.upto,
            period.start,
            period.end,
            PAGE_ROWS,
        )
        return [_charged(row) for row in rows]

    async def _rerate_page(self, owner: _Owner, page: Sequence[Charged]) -> None:
        ids = Ids(page[0].row - 1, page[-1].row)
        left = page
        for _ in range(_TRIES_MAX):
            changed = await self._rerate_once(owner, left)
            if not changed:
                return
            again = await self._read(owner, ids)
            left = [request for request in again if request.request_id in changed]
        self.totals.changed_meanwhile += len(left)

    async def _rerate_once(self, owner: _Owner, requests: Sequence[Charged]) -> Collection[str]:
        """Price requests and post the differences; returns those that changed meanwhile."""
        priced: list[_Posting] = []
        for request in requests:
            try:
                priced.append(_Posting(request, self._prices.price_of(request)))
            except NoPrice as error:
                unpriced = Unpriced(request.model or "", str(error))
                self.totals.unpriced[unpriced].add(request.charge, request.charge)
        differing = [posting for posting in priced if posting.amount]
        changed = await self._post_all(owner, differing) if self._post and differing else set[str]()
        for request, price in priced:
            if request.request_id not in changed:
                self.totals.add(owner.account_id, request.model or "", request.charge, price)
        return changed

    async def _post_all(self, owner: _Owner, postings: Sequence[_Posting]) -> set[str]:
        """Post differences in one transaction; returns the requests that changed meanwhile."""
        cause = self._query.cause
        async with self._sessions.begin() as session:
            connection = await session.connection()
            _ = await connection.exec_driver_sql(statements.LOCK_ACCOUNT, (owner.account_id,))
            posted = await connection.exec_driver_sql(
                statements.RERATE,
                (
                    owner.account_id,
                    [posting.request.request_id for posting in postings],
                    [posting.request.last for posting in postings],
                    [posting.amount for posting in postings],
                    [posting.price.rates.text for posting in postings],
                    [posting.request.usage.estimated for posting in postings],
                    cause.actor.name,
                    cause.note,
                ),
            )
            rows = cast("list[tuple[int, int, int]]", [tuple(row) for row in posted])
            if rows:
                _, before, after = rows[0]
                subject = Subject(user_id=owner.user_id, account_id=owner.account_id)
                rerated = Rerated(len(rows), before, after)
                record_rerate(session, cause.actor, subject, rerated, cause.note)
        numbers = {number for number, _, _ in rows}
        return {
            posting.request.request_id
            for number, posting in enumerate(postings, 1)
            if number not in numbers
        }

    async def _payers(self, account_ids: Sequence[int]) -> list[Payer]:
        rows = (
            select(Account.id, EMAIL, TEAM, Account.balance)
            .outerjoin(User, User.id == Account.user_id)
            .where(Account.id.in_(account_ids))
            .order_by(Account.id)
        )
        async with self._sessions() as session:
            found = (await session.execute(rows)).all()
        # Without posting, the balance is still the one before.
        return [
            Payer(
                account_id,
                email,
                team,
                balance if self._post else balance - self.totals.accounts[account_id].difference,
            )
            for account_id, email, team, balance in cast("list[tuple[int, str, str, int]]", found)
        ]

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Row[*tuple[Any, ...]]]:
        async with self._sessions() as session:
            connection = await session.connection()
            return (await connection.exec_driver_sql(statement, arguments)).all()


def _charged(row: Row[*tuple[Any, ...]]) -> Charged:
    quantities = Counter[str](orjson.loads(row.quantities or "{}"))
    # Not `update` of an empty one: most requests have no correction.
    if row.corrected_quantities is not None:
        quantities.update(orjson.loads(row.corrected_quantities))
    is_estimated = row.estimated if row.corrected_estimated is None else row.corrected_estimated
    return Charged(
        row=row.id,
        request_id=row.request_id,
        started_at=row.started_at,
        model=row.model,
        rates=row.rates,
        usage=Usage(quantities, row.total + row.corrected_total, is_estimated),
        charge=row.charge + row.adjusted,
        refunded=row.refunded,
        last=row.last,
    )
