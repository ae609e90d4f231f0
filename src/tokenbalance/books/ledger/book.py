"""The book of holds: place, and the four ends. Each is committed when it is answered.

    place ---> open ---> settled    the charge of what was used
                    |--> voided     nothing was used
                    `--> expired    charged what was known; its process was gone
                           `-- correct: the true usage turned up, the difference is entered

Every end is a compare-and-set on the hold's state, so each can be tried again at any time: when an
answer was lost, by another process, from a journal. What many ask for at the same time shares a
statement and its commit (`placements`, `settlements`). Knows accounts and credits; must never know
of HTTP, and never check before it acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import asyncpg

from tokenbalance.books.ledger.placements import Placement, Placements
from tokenbalance.books.ledger.settlements import Settlement, Settlements
from tokenbalance.books.pricing.rates import stored_rates
from tokenbalance.database import statements
from tokenbalance.database.batches import BATCH_MAX
from tokenbalance.model import Charge, Hold, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Claim, Purpose

LEASE_S: Final = 60.0


_NOTHING_DONE: Final = "UPDATE 0"


class UnknownHold(LookupError):
    """These books have never held anything for this request."""


@dataclass(frozen=True, slots=True)
class Funds:
    """An account's credits at one moment."""

    balance: int
    held: int
    overdraft: int

    @property
    def limit(self) -> int:
        """What holds may take when nothing is held, in credits."""
        return self.balance + self.overdraft

    @property
    def available(self) -> int:
        """What a hold may still take, in credits."""
        return self.limit - self.held


@dataclass(frozen=True, slots=True)
class Known:
    """An open hold, and what its request is known to have used."""

    hold: Hold
    usage: Usage


class Book:
    """Holds and their ends, on the request path's pool.

    A hold is charged at the rates that it carries. Who ends one that it did not place reads them
    first: `known` and `lapsed` give holds as they were placed.

    Raises what asyncpg raises; `database.connections.UNAVAILABLE` says which of it may pass.
    """

    def __init__(self, pool: Pool, lease_s: float = LEASE_S, *, batch_max: int = BATCH_MAX) -> None:
        """Take a pool, and how many requests at most share a statement; 1: none ever do."""
        self._pool = pool
        self._placements = Placements(pool, lease_s, batch_max)
        self._settlements = Settlements(pool, batch_max)
        self.lease_s = lease_s
        """How long a hold outlives the last sign of life of its process."""
        self.on_release: Callable[[int], None] | None = None
        """Told the account when credits of it were released here."""
        self.on_charge: Callable[[Hold, Usage, Charge, bool], None] | None = None
        """Told every charge that was committed, once, and whether the hold had expired."""

    async def name(self) -> str:
        """Tell which books these are."""
        return str(cast("UUID", await self._pool.fetchval(statements.WHICH_BOOKS)))

    async def place(
        self, caller: Caller, purpose: Purpose, claim: Claim, *, position: int | None = None
    ) -> Hold | None:
        """Reserve what is claimed, or what the balance affords if that is at least the minimum.

        Open holds of the account are not taken into what the balance affords: a request is capped
        because the account is nearly empty, never because it is busy.

        Args:
            caller: whose account and key.
            purpose: what for.
            claim: how much.
            position: the request's own among the waiters; None lets all of them go first.

        Returns:
            The hold, or None when it does not fit at this moment.

        """
        placement = Placement(caller, purpose, claim)
        if position is not None:
            return await self._placements.place_alone(placement, position)
        return await self._placements.place(placement)

    async def funds(self, account_id: int) -> Funds:
        """Read what an account has, for telling people; never for deciding."""
        row = await self._pool.fetchrow(statements.FUNDS, account_id)
        return Funds(0, 0, 0) if row is None else Funds(*cast("tuple[int, int, int]", tuple(row)))

    async def waited_for(self, account_id: int) -> int:
        """Read how many credits those who wait for an account ask for; never for deciding."""
        return cast("int", await self._pool.fetchval(statements.WAITED_FOR, account_id))

    async def waiting(self, account_id: int) -> int:
        """Read how many requests wait for an account; never for deciding."""
        return cast("int", await self._pool.fetchval(statements.WAITING, account_id))

    async def settle(self, hold: Hold, usage: Usage) -> Charge | None:
        """End a hold with the charge for what was used, or correct that of an expired one.

        Returns:
            The charge, with the balance right after it; None when the hold was voided before, and
            nothing changed. A hold that was settled before keeps the charge it has.

        Raises:
            UnknownHold: it was never placed.

        """
        charge = await self._settlements.settle(Settlement.of(hold, usage))
        if charge is not None:
            self._released(hold.account_id)
            self._charged(hold, usage, charge, expired=False)
            return charge
        # Settled before (an answer that was lost), or expired.
        corrected = await self.correct(hold, usage)
        charge = await self._ended(hold)
        if charge is not None and not corrected:
            # Nobody was told yet: the process that settled it did not hear of it.
            self._charged(hold, usage, charge, expired=False)
        return charge

    async def correct(self, hold: Hold, usage: Usage) -> bool:
        """Enter the true usage of a hold that had expired; at most once, else nothing changes.

        Returns:
            Whether it was entered here and now.

        """
        return await self._charge(statements.CORRECT, hold, usage) is not None

    async def expire(self, hold: Hold, usage: Usage, *, orphaned: bool = False) -> bool:
        """End a hold whose process is gone with the charge for what is known.

        Args:
            hold: the hold.
            usage: what is known, estimated.
            orphaned: the process is known to be gone; otherwise the lease must have ended.

        Returns:
            Whether it was ended here and now.

        """
        charge = await self._charge(statements.EXPIRE, hold, usage, orphaned)
        if charge is not None:
            self._released(hold.account_id)
            self._charged(hold, usage, charge, expired=True)
        return charge is not None

    async def void(self, hold: Hold) -> None:
        """End a hold without a charge, and take back that of an expired one.

        When it has ended in another way, nothing changes.
        """
        done = await self._pool.execute(statements.VOID, hold.account_id, hold.request_id)
        if done == _NOTHING_DONE:
            _ = await self.correct(hold, Usage())
        self._released(hold.account_id)

    async def leave_tombstone(self, caller: Caller, purpose: Purpose) -> None:
        """Void a hold that may or may not have been placed, or may yet be.

        Raises:
            UnknownHold: these books have no such account or key.

        """
        try:
            await self._pool.execute(
                statements.LEAVE_TOMBSTONE,
                caller.account_id,
                purpose.request_id,
                caller.key_id,
                purpose.endpoint,
            )
        except asyncpg.ForeignKeyViolationError:
            raise UnknownHold(purpose.request_id) from None
        await self.void(Hold(purpose.request_id, caller.account_id, 0))

    async def renew(self, holds: Sequence[tuple[Hold, Usage | None]]) -> None:
        """Renew the leases of open holds, and note what is known to be used; one statement.

        Args:
            holds: each with what was seen so far, None to leave what is noted.

        """
        await self._pool.execute(
            statements.RENEW,
            [hold.account_id for hold, _ in holds],
            [hold.request_id for hold, _ in holds],
            [None if seen is None else seen.input for _, seen in holds],
            [None if seen is None else seen.output for _, seen in holds],
            self.lease_s,
        )

    async def lapsed(self, limit: int) -> list[Known]:
        """Find open holds whose lease has ended, by the database's clock."""
        rows = await self._pool.fetch(statements.LAPSED, limit)
        return [
            _known(Hold(request_id, account_id, amount, stored_rates(rates)), *seen)
            for account_id, request_id, amount, rates, *seen in cast(
                "list[tuple[int, str, int, str | None, int, int]]", [tuple(row) for row in rows]
            )
        ]

    async def known(self, account_id: int, request_id: str) -> Known:
        """Read what is known of one hold.

        Raises:
            UnknownHold: it was never placed.

        """
        row = await self._pool.fetchrow(statements.KNOWN, account_id, request_id)
        if row is None:
            raise UnknownHold(request_id)
        amount, rates, known_input, known_output = cast(
            "tuple[int, str | None, int, int]", tuple(row)
        )
        hold = Hold(request_id, account_id, amount, stored_rates(rates))
        return _known(hold, known_input, known_output)

    async def _charge(
        self, statement: str, hold: Hold, usage: Usage, *more: object
    ) -> Charge | None:
        return await self._settlements.charge(statement, Settlement.of(hold, usage), *more)

    async def _ended(self, hold: Hold) -> Charge | None:
        row = await self._pool.fetchrow(statements.ENDED, hold.account_id, hold.request_id)
        if row is None:
            raise UnknownHold(hold.request_id)
        amount, balance, held = cast("tuple[int | None, int, int]", tuple(row))
        return None if amount is None else Charge(amount, balance, held)

    def _released(self, account_id: int) -> None:
        if self.on_release is not None:
            self.on_release(account_id)

    def _charged(self, hold: Hold, usage: Usage, charge: Charge, *, expired: bool) -> None:
        if self.on_charge is not None:
            self.on_charge(hold, usage, charge, expired)


def _known(hold: Hold, known_input: int, known_output: int) -> Known:
    total = known_input + known_output
    usage = Usage(input=known_input, output=known_output, total=total, estimated=True)
    return Known(hold, usage)
