"""Settling holds: many in one statement, else each with its own statement.

Owns how SETTLE, SETTLE_MANY and the other charges are sent and read. Each is a compare-and-set on
the hold, so it makes no difference which statement settles it, or how often it is tried.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import orjson

from tokenbalance.books.ledger.account_queues import AccountQueues
from tokenbalance.books.ledger.fallback import each_alone, left_on_item_error
from tokenbalance.books.pricing.factors import is_assumed
from tokenbalance.books.pricing.rates import charge_for
from tokenbalance.books.pricing.units import TIER
from tokenbalance.database import statements
from tokenbalance.database.batches import Left
from tokenbalance.model import UNTRACED, Charge, Trace
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from tokenbalance.database.batches import Batch
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Hold, Rates, Usage


@value
class Settlement:
    """A hold to be ended with the charge for its usage."""

    hold: Hold
    usage: Usage
    amount: int
    """The charge."""
    trace: Trace = UNTRACED
    objects: str | None = None
    """Objects that become the caller's with the charge, as JSON; None: there are none."""

    @classmethod
    def of(
        cls, hold: Hold, usage: Usage, trace: Trace = UNTRACED, objects: str | None = None
    ) -> Settlement:
        """Charge a usage at the rates of its hold."""
        return cls(hold, usage, charge_for(usage, hold.rates), trace, objects)

    @property
    def account_id(self) -> int:
        """Whose credits are charged."""
        return self.hold.account_id

    def arguments(self) -> tuple[object, ...]:
        """The first parameters of every statement that charges; `more` follow."""
        usage = self.usage
        return (
            self.hold.account_id,
            self.hold.request_id,
            self.amount,
            usage.estimated,
            _stored(usage, self.hold.rates),
            usage.total,
        )

    def full(self) -> tuple[object, ...]:
        """The other parameters of a statement that settles anything: the trace, and objects."""
        return (*self.trace, self.objects)


def _stored(usage: Usage, rates: Rates | None) -> str | None:
    """Write the quantities of a usage as they are stored; None if it has none.

    The usual service tier is left out where that changes no charge: nearly every row would have it.
    """
    quantities = dict(usage.quantities)
    for tier in _USUAL:
        if tier in quantities and is_assumed(tier, rates):
            del quantities[tier]
    return orjson.dumps(quantities).decode() if quantities else None


_USUAL: Final = (f"{TIER}default", f"{TIER}standard")


class _Variants(NamedTuple):
    """A statement for many, by what there is besides charges."""

    plain: str
    """Nothing."""
    limited: str
    """Limits to give back to."""
    full: str
    """Objects, and perhaps limits."""


class Settlements:
    """Settles holds on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool, batch_max: int) -> None:
        self._pool = pool
        self._queues = AccountQueues[Settlement, Charge | None](
            self._settle_shared,
            self._settle_queued,
            attrgetter("hold.account_id"),
            batch_max,
            turns=pool.turns,
        )

    async def settle(self, settlement: Settlement) -> Charge | None:
        """Settle a hold together with others.

        If this is cancelled, the hold may be settled anyway.

        Returns:
            The charge, with the balance right after it, and the credits held after the whole batch;
            None if the hold is not open.

        """
        charge = await self._queues.submit(settlement)
        return await self.settle_alone(settlement) if charge is Left.LEFT else charge

    async def settle_alone(self, settlement: Settlement) -> Charge | None:
        """Settle a hold with a statement of its own; None if it is not open."""
        if settlement.objects is not None:
            return await self.charge(statements.SETTLE_FULL, settlement, *settlement.full())
        statement = statements.SETTLE if settlement.hold.is_plain else statements.SETTLE_LIMITED
        return await self.charge(statement, settlement, *settlement.trace)

    async def charge(self, statement: str, settlement: Settlement, *more: object) -> Charge | None:
        """Run a statement that charges one hold; None if it changed nothing."""
        row = await self._pool.fetchrow(statement, *settlement.arguments(), *more)
        if row is None:
            return None
        balance, held = cast("tuple[int, int]", tuple(row))
        return Charge(settlement.amount, balance, held)

    async def _settle_shared(self, batch: Batch[Settlement, Charge | None]) -> None:
        variants = _Variants(
            statements.SETTLE_MANY, statements.SETTLE_MANY_LIMITED, statements.SETTLE_MANY_FULL
        )
        await self._settle_many(variants, batch)

    async def _settle_queued(self, batch: Batch[Settlement, Charge | None]) -> None:
        if len(batch) > 1:
            variants = _Variants(
                statements.SETTLE_MANY_OF_ONE,
                statements.SETTLE_MANY_OF_ONE_LIMITED,
                statements.SETTLE_MANY_OF_ONE_FULL,
            )
            await self._settle_many(variants, batch)
        await each_alone(batch, self.settle_alone)

    async def _settle_many(
        self, variants: _Variants, batch: Batch[Settlement, Charge | None]
    ) -> None:
        items = [pending.item for pending in batch]
        columns = [
            *zip(*((*item.arguments(), *item.trace) for item in items), strict=True),
        ]
        statement = variants.plain
        if any(item.objects is not None for item in items):
            statement = variants.full
            columns.append(tuple(item.objects for item in items))
        elif not all(item.hold.is_plain for item in items):
            statement = variants.limited
        with left_on_item_error():
            rows = await self._pool.fetch(statement, *columns)
            for number, balance, held in cast("list[tuple[int, int, int]]", rows):
                pending = batch[number - 1]
                pending.resolve(Charge(pending.item.amount, balance, held))
