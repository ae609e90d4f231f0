"""Placing holds: many in one statement if they fit in full, else each with its own statement.

Owns how PLACE and PLACE_MANY are sent and read. A hold is the same whichever statement placed it.
Only PLACE decides that a hold does not fit; nothing here may decide that.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, cast

from tokenbalance.books.ledger.account_queues import AccountQueues
from tokenbalance.books.ledger.fallback import each_alone, left_on_item_error
from tokenbalance.database import statements
from tokenbalance.database.batches import Left
from tokenbalance.model import Hold, Terms
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.database.batches import Batch
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Claim, Purpose


@value
class Placement:
    """A hold to be placed, if it fits."""

    caller: Caller
    purpose: Purpose
    claim: Claim

    @property
    def account_id(self) -> int:
        """Whose credits are claimed."""
        return self.caller.account_id

    @property
    def key(self) -> tuple[int, str]:
        """The key of the hold."""
        return self.caller.account_id, self.purpose.request_id

    def placed(self, amount: int) -> Hold:
        """The hold, placed with this many credits."""
        purpose, claim = self.purpose, self.claim
        terms = Terms(
            self.caller.key_id,
            purpose.endpoint,
            purpose.model,
            claim.known_input,
            claim.estimated_output,
        )
        return Hold(purpose.request_id, self.caller.account_id, amount, purpose.rates, terms)


class Placements:
    """Places holds on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool, lease_s: float, batch_max: int) -> None:
        self._pool = pool
        self._lease_s = lease_s
        self._queues = AccountQueues[Placement, Hold | None](
            self._place_shared,
            self._place_queued,
            attrgetter("caller.account_id"),
            batch_max,
            turns=pool.turns,
        )

    async def place(self, placement: Placement) -> Hold | None:
        """Place a hold together with others; None if it does not fit at this moment.

        If this is cancelled, the hold may be placed anyway.
        """
        hold = await self._queues.submit(placement)
        return await self.place_alone(placement) if hold is Left.LEFT else hold

    async def place_alone(self, placement: Placement, position: int | None = None) -> Hold | None:
        """Place a hold with a statement of its own; None if it does not fit at this moment.

        Args:
            placement: the hold.
            position: the position of the request among the waiters; None if it is not one of them.

        """
        purpose, claim = placement.purpose, placement.claim
        row = await self._pool.fetchrow(
            statements.PLACE,
            placement.caller.account_id,
            purpose.request_id,
            placement.caller.key_id,
            claim.wanted,
            claim.minimum,
            purpose.endpoint,
            purpose.model,
            claim.known_input,
            self._lease_s,
            position,
            claim.estimated_output,
            None if purpose.rates is None else purpose.rates.text,
            placement.caller.secret_sha256,
        )
        return None if row is None else placement.placed(cast("int", row[0]))

    async def _place_shared(self, batch: Batch[Placement, Hold | None]) -> None:
        await self._place_many(statements.PLACE_MANY, batch)

    async def _place_queued(self, batch: Batch[Placement, Hold | None]) -> None:
        if len(batch) > 1:
            await self._place_many(statements.PLACE_MANY_OF_ONE, batch)
        await each_alone(batch, self.place_alone)

    async def _place_many(self, statement: str, batch: Batch[Placement, Hold | None]) -> None:
        columns, rates = _columns([pending.item for pending in batch])
        with left_on_item_error():
            rows = await self._pool.fetch(statement, *columns, self._lease_s, rates)
            placed = {
                (account_id, request_id): amount
                for account_id, request_id, amount in cast("list[tuple[int, str, int]]", rows)
            }
            for pending in batch:
                # Popped, so that of two items with the same key only the first gets the hold.
                amount = placed.pop(pending.item.key, None)
                if amount is not None:
                    pending.resolve(pending.item.placed(amount))


def _columns(placements: Sequence[Placement]) -> tuple[list[list[object]], list[str]]:
    """The columns of a batch, and the different rates in it; rows have their number from 1 on.

    A text of rates is longer than the rest of a row, and most requests have the same.
    """
    rates: dict[str, int] = {}
    rows = [
        (
            placement.caller.account_id,
            placement.purpose.request_id,
            placement.caller.secret_sha256,
            placement.claim.wanted,
            placement.claim.minimum,
            placement.purpose.endpoint,
            placement.purpose.model,
            placement.claim.known_input,
            placement.claim.estimated_output,
            None
            if placement.purpose.rates is None
            else rates.setdefault(placement.purpose.rates.text, len(rates) + 1),
        )
        for placement in placements
    ]
    return [list(column) for column in zip(*rows, strict=True)], list(rates)
