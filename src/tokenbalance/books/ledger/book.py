"""The book of holds: place, and the four ends. Each is committed when its call returns.

    place ---> open ---> settled    charged what was used
                    |--> voided     nothing was used
                    `--> expired    charged what is known, its process is gone
                           `-- correct: the true usage was found, the difference is entered

A hold that may or may not have been placed gets a tombstone: the open hold of nothing, with which a
late placement conflicts, so that it cannot succeed. What was never placed has no row in the ledger.

Every end is a compare-and-set, the deletion of the open hold, so it can be repeated at any time:
after a lost result, by another process, or from a journal. What ended stays as a row of the ledger,
a correction is one more row, and no id of a request is used twice. Simultaneous calls share a
statement and its commit (`placements`, `settlements`). Knows accounts and credits; must never know
of HTTP, and never check before it acts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.grants.due import funds_row
from tokenbalance.books.ledger.corrections import enter_correction
from tokenbalance.books.ledger.forgotten import Forgotten
from tokenbalance.books.ledger.placements import Placement, Placements
from tokenbalance.books.ledger.settlements import Settlement, Settlements
from tokenbalance.books.limits import Limits
from tokenbalance.books.pricing.rates import stored_rates
from tokenbalance.database import statements
from tokenbalance.database.batches import BATCH_MAX
from tokenbalance.model import UNTRACED, Charge, Hold, Terms, Trace, Usage
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from uuid import UUID

    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Claim, LimitState, Purpose

LEASE_S: Final = 60.0
_NOTHING_ENTERED: Final = "INSERT 0 0"


class UnknownHold(LookupError):
    """These books never had a hold for this request."""


@value
class Funds:
    """An account's credits at one moment."""

    balance: int
    held: int
    overdraft: int

    @property
    def limit(self) -> int:
        """The most that holds may take in all, in credits."""
        return self.balance + self.overdraft

    @property
    def available(self) -> int:
        """What a new hold may take, in credits."""
        return self.limit - self.held


@dataclass(frozen=True, slots=True)
class Known:
    """A hold, and the usage of its request as far as it is known."""

    hold: Hold
    usage: Usage

    @classmethod
    def of(cls, hold: Hold, known_input: int, known_output: int) -> Known:
        """Take what is known as an estimate of the usage."""
        return cls(hold, Usage.counted(known_input, known_output))


class Book:
    """Holds and their ends, on the request path's pool.

    A hold is charged at the rates that it carries. A process that ends a hold of another process
    reads them first: `known` and `lapsed` return holds as they were placed.

    Every method raises what asyncpg raises; `database.connections.UNAVAILABLE` names the errors
    that may pass.
    """

    def __init__(self, pool: Pool, lease_s: float = LEASE_S, *, batch_max: int = BATCH_MAX) -> None:
        """Open the book on a pool.

        Args:
            pool: the connections of the request path.
            lease_s: how long a hold outlives the last heartbeat of its process.
            batch_max: the most requests that share a statement; with 1, none do.

        """
        self._pool = pool
        self.limits = Limits(pool)
        """Reads what limits have left, of any subject."""
        self._placements = Placements(pool, self.limits, lease_s, batch_max)
        self._settlements = Settlements(pool, batch_max)
        self._forgotten = Forgotten(pool, lease_s)
        self.lease_s = lease_s
        """How long a hold outlives the last heartbeat of its process."""
        self.on_release: Callable[[int], None] | None = None
        """Called with the account when held credits of it were released by this process."""
        self.on_charge: Callable[[Hold, Usage, Charge, bool], None] | None = None
        """Called once with every committed charge, and whether the hold had expired."""

    async def name(self) -> str:
        """Return the id of these books."""
        return str(cast("UUID", await self._pool.fetchval(statements.WHICH_BOOKS)))

    def place(
        self, caller: Caller, purpose: Purpose, claim: Claim, *, position: int | None = None
    ) -> Coroutine[object, object, Hold | None]:
        """Reserve what is claimed, or what the balance affords if that is at least the minimum.

        What the balance affords does not depend on open holds: a request is capped because the
        account is nearly empty, never because it is busy.

        Args:
            caller: whose account and key.
            purpose: what for.
            claim: how much.
            position: the position of the request among the waiters; None if it is not one of them,
                in which case all waiters come first.

        Returns:
            The hold, or None if it does not fit at this moment, or the key has ended since it was
            looked up, or has another policy; `funds_of` and `limits_of` tell which.

        """
        placement = Placement(caller, purpose, claim)
        if position is not None:
            return self._placements.place_alone(placement, position)
        return self._placements.place(placement)

    async def funds(self, account_id: int) -> Funds:
        """Read what an account has; to be shown, never to decide by."""
        row = await self._pool.fetchrow(statements.FUNDS, account_id)
        return Funds(0, 0, 0) if row is None else Funds(*cast("tuple[int, int, int]", tuple(row)))

    async def funds_of(self, caller: Caller) -> Funds | None:
        """Read what a caller's account has, once what is due is entered; never to decide by.

        Returns:
            None if the key was revoked or rotated, has expired or lost its scope, or the user was
            disabled.

        """
        row = await funds_row(self._pool, caller)
        return None if row is None else Funds(*row[:3])

    async def limits_of(self, caller: Caller) -> tuple[LimitState, ...]:
        """Read what the limits of a caller have left, after entering windows that have begun.

        To be shown, never to decide by: with it `refusal_of` explains what a placement decided.
        Ordered as `Limits.states` has it, by the subjects of the policy; empty without one.
        """
        if caller.policy is None:
            return ()
        return await self.limits.states(caller.account_id, caller.policy.subjects)

    async def waited_for(self, account_id: int) -> int:
        """Read how many credits the waiters of an account want; to be shown, never to decide by."""
        return cast("int", await self._pool.fetchval(statements.WAITED_FOR, account_id))

    async def waiting(self, account_id: int) -> int:
        """Read how many requests wait for an account; to be shown, never to decide by."""
        return cast("int", await self._pool.fetchval(statements.WAITING, account_id))

    async def settle(
        self, hold: Hold, usage: Usage, trace: Trace = UNTRACED, objects: str | None = None
    ) -> Charge | None:
        """End a hold with the charge for what was used, or correct that of an expired one.

        Args:
            hold: the hold.
            usage: what was used.
            trace: how the request went, as far as it is known.
            objects: what becomes the caller's with it, as JSON; also where the hold has ended.

        Returns:
            The charge, with the balance right after it; None if the hold was already voided, and
            no balance changed. A hold that was already settled keeps its charge.

        Raises:
            UnknownHold: it was never placed.

        """
        settlement = Settlement.of(hold, usage, trace, objects)
        charge = await self._settlements.settle(settlement)
        if charge is not None:
            self._released(hold.account_id)
            self._charged(hold, usage, charge, expired=False)
            return charge
        if objects is not None:
            # By whatever the hold has ended, these are the account's.
            await self._record(hold, objects)
        # It was settled before and the result was lost, or it has expired.
        corrected = await self.correct(hold, usage, trace)
        try:
            charge = await self._ended(hold)
        except UnknownHold:
            charge = await self._settle_forgotten(settlement)
        if charge is not None and not corrected:
            # Not reported yet: the call that settled it did not get the result.
            self._charged(hold, usage, charge, expired=False)
        return charge

    async def correct(self, hold: Hold, usage: Usage, trace: Trace = UNTRACED) -> bool:
        """Enter the true usage of an expired hold, once; in any other state nothing changes.

        Returns:
            Whether this call entered it.

        """
        return await enter_correction(self._pool, Settlement.of(hold, usage, trace))

    async def expire(self, hold: Hold, usage: Usage, *, orphaned: bool = False) -> bool:
        """End a hold whose process is gone, and charge the known usage.

        Args:
            hold: the hold.
            usage: the known usage, marked as estimated.
            orphaned: the process is known to be gone; otherwise the lease must have ended.

        Returns:
            Whether this call ended it.

        """
        settlement = Settlement.of(hold, usage)
        charge = await self._settlements.charge(statements.EXPIRE, settlement, orphaned)
        if charge is None and orphaned:
            charge = await self._forgotten.expire(settlement)
        if charge is not None:
            self._released(hold.account_id)
            self._charged(hold, usage, charge, expired=True)
        return charge is not None

    async def void(self, hold: Hold, trace: Trace = UNTRACED) -> None:
        """End a hold without a charge, or take back the charge of an expired one.

        If it has ended in another way, nothing changes.
        """
        done = await self._pool.execute(statements.VOID, hold.account_id, hold.request_id, *trace)
        if done == _NOTHING_ENTERED and not await self.correct(hold, Usage(), trace):
            await self._bury(hold, trace)
        self._released(hold.account_id)

    async def leave_tombstone(
        self,
        caller: Caller,
        purpose: Purpose,
        trace: Trace = UNTRACED,
        *,
        placed: int | None = None,
    ) -> None:
        """Void a hold that may have been placed, or may still be placed by a late statement.

        Args:
            caller: whose account and key.
            purpose: what for.
            trace: how the request went, as far as it is known.
            placed: credits that it held, where it is known to have been placed; it then has a row
                in the ledger, even if the database has forgotten its hold.

        Raises:
            UnknownHold: these books do not have its account or key.

        """
        terms = Terms(caller.key_id, purpose.endpoint, purpose.model)
        hold = Hold(purpose.request_id, caller.account_id, placed or 0, terms=terms)
        if not await self._leave_tombstone(hold, terms, placed):
            raise UnknownHold(purpose.request_id)
        await self.void(replace(hold, terms=None), trace)

    async def renew(self, holds: Sequence[tuple[Hold, Usage | None]]) -> int:
        """Renew the leases of open holds and note the known usage, in one statement.

        Args:
            holds: each with the usage seen so far, None to keep what was noted before.

        Returns:
            How many were renewed. The others are being ended, have ended, or were forgotten.

        """
        done = await self._pool.execute(
            statements.RENEW,
            [hold.account_id for hold, _ in holds],
            [hold.request_id for hold, _ in holds],
            [None if seen is None else seen.input for _, seen in holds],
            [None if seen is None else seen.output for _, seen in holds],
            self.lease_s,
        )
        return int(done.removeprefix("UPDATE "))

    async def lapsed(self, limit: int) -> list[Known]:
        """Find open holds whose lease has ended, by the database's clock."""
        rows = await self._pool.fetch(statements.LAPSED, limit)
        return [
            Known.of(Hold(request_id, account_id, amount, stored_rates(rates)), *seen)
            for account_id, request_id, amount, rates, *seen in cast(
                "list[tuple[int, str, int, str | None, int, int]]", [tuple(row) for row in rows]
            )
        ]

    async def known(self, account_id: int, request_id: str) -> Known:
        """Read one hold, and what is known of its usage.

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
        return Known.of(hold, known_input, known_output)

    async def restore(self, holds: Sequence[Hold]) -> int:
        """Restore those of these holds that a crash of the database forgot.

        Args:
            holds: as they were placed, with their terms.

        Returns:
            How many were restored.

        """
        return await self._forgotten.restore(holds)

    async def _record(self, hold: Hold, objects: str) -> None:
        key_id = None if hold.terms is None else hold.terms.key_id
        _ = await self._pool.execute(
            statements.RECORD_OBJECTS,
            [hold.account_id],
            [key_id],
            [objects],
            False,  # noqa: FBT003 - a parameter of the statement
        )

    async def _settle_forgotten(self, settlement: Settlement) -> Charge | None:
        """Settle what the database forgot.

        Raises:
            UnknownHold: it was never placed here.

        """
        charge = await self._forgotten.settle(settlement)
        if charge is not None:
            return charge
        # A heartbeat has restored it just now, or somebody has ended it, or it was never here.
        charge = await self._settlements.settle_alone(settlement)
        return await self._ended(settlement.hold) if charge is None else charge

    async def _bury(self, hold: Hold, trace: Trace) -> None:
        """End a hold that the database forgot, so that no heartbeat restores it any more."""
        if hold.terms is None:
            return
        if await self._leave_tombstone(hold, hold.terms, hold.amount):
            # Unless one has done so just now.
            await self.void(replace(hold, terms=None), trace)

    async def _leave_tombstone(self, hold: Hold, terms: Terms, placed: int | None) -> bool:
        return cast(
            "bool",
            await self._pool.fetchval(
                statements.LEAVE_TOMBSTONE,
                hold.account_id,
                hold.request_id,
                terms.key_id,
                terms.endpoint,
                placed,
            ),
        )

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
