"""Placing holds: many in one statement if they fit in full, else each with its own statement.

Owns how PLACE and PLACE_MANY are sent and read, and their LIMITED variants for callers with a
policy. A hold is the same whichever statement placed it. Only PLACE decides that a hold does not
fit; nothing here may decide that.
"""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.books.ledger.account_queues import AccountQueues
from tokenbalance.books.ledger.fallback import each_alone, left_on_item_error, repeated
from tokenbalance.books.limits.refusals import COUNTED_MAX, MINUTE_US
from tokenbalance.database import statements
from tokenbalance.database.batches import Left
from tokenbalance.model import Hold, Room, Terms
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Record

    from tokenbalance.books.limits import Limits
    from tokenbalance.database.batches import Batch
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Claim, Policy, Purpose
    from tokenbalance.model.limits import Unit

    _Taken: TypeAlias = tuple[int, list[int] | None]
    """The credits of a hold, and the limits that it took from, if any."""
    _Limited: TypeAlias = tuple[int | None, list[int] | None, bool]
    """As well, whether the window of a limit has ended; no credits: it was not placed."""
    _Left: TypeAlias = tuple[int, Unit, int, int | None, timedelta | None]
    """A limit, what it leaves (None: it is a rate), and until it is full; None: there is none."""

_ATTEMPTS: Final = 3
"""To place a hold while windows of its limits end."""
_ONE_US: Final = timedelta(microseconds=1)
_NONE: Final = MappingProxyType[int, Room]({})


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

    def placed(
        self,
        amount: int,
        limit_ids: list[int] | None = None,
        rooms: Mapping[int, Room] = _NONE,
    ) -> Hold:
        """The hold, placed with this many credits.

        Args:
            amount: the credits.
            limit_ids: the limits that it took from, if any.
            rooms: what limits leave, by id.

        """
        purpose, claim = self.purpose, self.claim
        terms = Terms(
            self.caller.key_id,
            purpose.endpoint,
            purpose.model,
            claim.known_input,
            claim.estimated_output,
        )
        if limit_ids is None:
            return Hold(
                purpose.request_id, self.account_id, amount, purpose.rates, terms, is_plain=True
            )
        terms = terms._replace(tokens=claim.tokens, limit_ids=tuple(limit_ids))
        return Hold(
            purpose.request_id,
            self.account_id,
            amount,
            purpose.rates,
            terms,
            rooms=_tightest(rooms, limit_ids),
        )

    def limits(self, policy: Policy) -> tuple[int, int, tuple[str, ...]]:
        """What the statements call the version, the tokens and the subjects."""
        return policy.version, self.claim.tokens, policy.subjects


def _tightest(rooms: Mapping[int, Room], limit_ids: Iterable[int]) -> tuple[Room, ...]:
    """Find the tightest limit of requests, and that of tokens."""
    tightest: dict[str, Room] = {}
    for limit_id in limit_ids:
        room = rooms.get(limit_id)
        if room is None:
            continue
        other = tightest.get(room.unit)
        if other is None or room.remaining < other.remaining:
            tightest[room.unit] = room
    return tuple(tightest.values())


def _keep_room(left: dict[int, Room], limit: _Left) -> None:
    """Note what a limit leaves; a rate leaves what it has regained.

    As much fits as takes a span, in whole microseconds, after which the rate is full in a minute.
    """
    limit_id, unit, amount, remaining, full_in = limit
    if full_in is None:
        return
    reset_us = full_in // _ONE_US
    if remaining is None:
        regained = min(amount, COUNTED_MAX) * (MINUTE_US + 1 - reset_us) - 1
        remaining = regained // MINUTE_US
    left[limit_id] = Room(unit, amount, max(remaining, 0), reset_us)


class Placements:
    """Places holds on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool, limits: Limits, lease_s: float, batch_max: int) -> None:
        self._pool = pool
        self._limits = limits
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
        policy = placement.caller.policy
        if policy is not None:
            return await repeated(lambda: self._place_limited(placement, policy, position))
        row = await self._pool.fetchrow(statements.PLACE, *self._arguments(placement, position))
        return None if row is None else placement.placed(cast("int", row[0]))

    async def _place_limited(
        self, placement: Placement, policy: Policy, position: int | None
    ) -> Hold | None:
        version, tokens, subjects = placement.limits(policy)
        for _ in range(_ATTEMPTS):
            rows = await self._pool.fetch(
                statements.PLACE_LIMITED,
                *self._arguments(placement, position),
                version,
                tokens,
                subjects,
            )
            if not rows:
                return None
            found = cast("list[tuple[*_Limited, *_Left]]", [tuple(row) for row in rows])
            amount, limit_ids, is_stale, *_ = found[0]
            if amount is not None:
                left: dict[int, Room] = {}
                for row in found:
                    _keep_room(left, row[3:])
                return placement.placed(amount, limit_ids, left)
            if not is_stale:
                return None
            await self._limits.states(placement.account_id, subjects)
        return None

    def _arguments(self, placement: Placement, position: int | None) -> tuple[object, ...]:
        """The parameters that PLACE and PLACE_LIMITED have in common."""
        purpose, claim = placement.purpose, placement.claim
        return (
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

    async def _place_shared(self, batch: Batch[Placement, Hold | None]) -> None:
        variants = statements.PLACE_MANY, statements.PLACE_MANY_LIMITED
        await self._place_many(variants, batch)

    async def _place_queued(self, batch: Batch[Placement, Hold | None]) -> None:
        if len(batch) > 1:
            variants = statements.PLACE_MANY_OF_ONE, statements.PLACE_MANY_OF_ONE_LIMITED
            await self._place_many(variants, batch)
        await each_alone(batch, self.place_alone)

    async def _place_many(
        self, plain_and_limited: tuple[str, str], batch: Batch[Placement, Hold | None]
    ) -> None:
        placements = [pending.item for pending in batch]
        columns, rates = _columns(placements)
        limits = _limit_columns(placements)
        statement = plain_and_limited[bool(limits)]
        with left_on_item_error():
            rows = await self._pool.fetch(statement, *columns, self._lease_s, rates, *limits)
            left: dict[int, Room] = {}
            if limits:
                left, rows = _left_by(rows)
            placed = {
                (account_id, request_id): cast("_Taken", tuple(taken[:2]))
                for account_id, request_id, *taken in cast("list[tuple[int, str, int]]", rows)
            }
            for pending in batch:
                # Popped, so that of two items with the same key only the first gets the hold.
                taken = placed.pop(pending.item.key, None)
                if taken is not None:
                    pending.resolve(pending.item.placed(*taken, rooms=left))


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


def _limit_columns(placements: Sequence[Placement]) -> list[list[object]]:
    """The columns of a batch that only limits need: versions, tokens, subjects; [] if none does."""
    if all(placement.caller.policy is None for placement in placements):
        return []
    subjects: dict[int, str] = {}
    mixed: set[int] = set()
    rows: list[tuple[int, int, str]] = []
    for placement in placements:
        policy, account_id = placement.caller.policy, placement.caller.account_id
        row = (
            (0, 0, "")
            if policy is None
            else (policy.version, placement.claim.tokens, " ".join(policy.subjects))
        )
        rows.append(row)
        if subjects.setdefault(account_id, row[2]) != row[2]:
            mixed.add(account_id)
    columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)]
    columns.append([placement.caller.account_id in mixed for placement in placements])
    return columns


def _left_by(rows: Sequence[Record]) -> tuple[dict[int, Room], list[Record]]:
    """Part what limits leave, by id, from the holds that took from them."""
    left: dict[int, Room] = {}
    placed: list[Record] = []
    for row in rows:
        if row[5] is None:
            placed.append(row)
        else:
            _keep_room(left, cast("_Left", (*row[:3], *row[4:])))
    return left, placed
