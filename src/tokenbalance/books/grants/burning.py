"""Which grants an entry takes from, or gives back to: by priority, soonest end, age. No I/O.

The order depends only on the set of grants. So charges need not be burnt when they are made: it is
done when the set changes or is looked at, with the same result, for all charges since the last time
in one range. Within a range the part of a charge follows from the balances before and after it, and
that is how a refund finds the grants that its charge burnt. What is below zero is owed by the next
grant: what remains is the balance, or 0 if that is negative.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PRIORITY: Final = 50
"""Of grants of which nothing else is said."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Part: TypeAlias = tuple[int, int]
"""A grant, and credits that are taken from it; negative: given back."""
Share: TypeAlias = tuple[int | None, int]
"""A part of a charge; None: no grant had it, and the balance fell below zero."""


@dataclass(slots=True)
class Lot:
    """What remains of one grant."""

    id: int
    amount: int
    remaining: int
    priority: int = PRIORITY
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    """When its end was entered."""
    allowance_id: int | None = None
    period_start: datetime | None = None
    carried: int = 0
    note: str = ""

    def has_ended(self, moment: datetime) -> bool:
        """Whether what begins at this moment may no longer spend it."""
        return self.expires_at is not None and self.expires_at <= moment

    @property
    def order(self) -> tuple[int, datetime, int]:
        """Its place among the grants of its account."""
        return self.priority, self.expires_at or _NEVER, self.id


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger that changes the balance."""

    id: int
    amount: int
    balance_after: int
    request_id: str | None
    moment: datetime
    """When the request began; of what is no end of a request: when it was entered."""

    @property
    def balance_before(self) -> int:
        """The balance before it."""
        return self.balance_after - self.amount


@dataclass(slots=True)
class Range:
    """Entries that were burnt together: see `Burn` in `database.tables`."""

    entries_after: int
    up_to: int
    balance_before: int
    balance_after: int
    is_plain: bool
    parts: list[Part]

    def shares_of(self, entry: Entry) -> Iterator[Share]:
        """Which grants an entry of this range was taken from."""
        begin = self.balance_before - entry.balance_before
        end = begin - entry.amount
        position = 0
        for grant, amount in self.parts:
            taken = min(end, position + amount) - max(begin, position)
            if taken > 0:
                yield grant, taken
            position += amount
        if end > max(begin, position):
            yield None, end - max(begin, position)


@dataclass(slots=True)
class Lots:
    """The grants of one account as of its last range."""

    lots: dict[int, Lot]
    balance: int
    """After the last range."""
    up_to: int
    """The end of the last range."""
    ranges: list[Range] = field(default_factory=list[Range])
    """Those that are known: new ones, and old ones of which an entry is refunded."""

    @property
    def remaining(self) -> int:
        """What remains of all of them."""
        return sum(lot.remaining for lot in self.lots.values())

    def in_order(self, moment: datetime | None = None) -> list[Lot]:
        """List what remains, first what is spent first; what has ended at this moment last."""
        lots = sorted(
            (lot for lot in self.lots.values() if lot.remaining), key=lambda lot: lot.order
        )
        if moment is not None:
            # A stable sort.
            lots.sort(key=lambda lot: lot.has_ended(moment))
        return lots

    def follow(self, entries: Iterable[Entry], of_requests: Mapping[str, Sequence[Entry]]) -> None:
        """Burn up to and with entries that are no plain charges, in their order.

        Args:
            entries: all since the last range that are no charges, or charges of requests that began
                after the end of a grant.
            of_requests: all entries of the requests that they give something back to.

        """
        for entry in entries:
            self.burn_charges(entry.id - 1, entry.balance_before)
            if entry.amount < 0:
                parts = self._take(entry.balance_after, entry.moment)
            elif entry.request_id is None:
                parts = self._receive(entry)
            else:
                parts = self._give_back(entry, of_requests.get(entry.request_id, ()))
            self.note(entry.id, entry.balance_after, parts)

    def burn_charges(self, up_to: int, balance: int) -> None:
        """Burn the plain charges since the last range.

        Args:
            up_to: the last of them, or an id behind it and before the next entry.
            balance: after the last of them.

        """
        if balance == self.balance:
            return
        parts = self._take(balance)
        last = self.ranges[-1] if self.ranges else None
        if last is not None and last.is_plain and last.up_to == self.up_to:
            last.up_to, last.balance_after = up_to, balance
            last.parts[:] = merged(chain(last.parts, parts))
            self.up_to, self.balance = up_to, balance
        else:
            self.note(up_to, balance, parts, is_plain=True)

    def note(
        self, up_to: int, balance: int, parts: Sequence[Part], *, is_plain: bool = False
    ) -> None:
        """Add a range."""
        self.ranges.append(
            Range(self.up_to, up_to, self.balance, balance, is_plain, [*merged(parts)])
        )
        self.up_to, self.balance = up_to, balance

    def add(self, lot: Lot, balance_after: int) -> list[Part]:
        """Add a grant; what the account owes is taken from it at once."""
        self.lots[lot.id] = lot
        return self._take(balance_after)

    def _take(self, balance: int, moment: datetime | None = None) -> list[Part]:
        """Take what remains beyond a balance."""
        excess = self.remaining - max(balance, 0)
        parts: list[Part] = []
        for lot in self.in_order(moment) if excess > 0 else ():
            taken = min(lot.remaining, excess)
            lot.remaining -= taken
            excess -= taken
            parts.append((lot.id, taken))
            if excess == 0:
                break
        return parts

    def _receive(self, entry: Entry) -> list[Part]:
        """Make an entry of credits a grant without an end; nothing if it adds nothing."""
        if entry.amount == 0:
            return []
        return self.add(Lot(entry.id, entry.amount, entry.amount), entry.balance_after)

    def _give_back(self, entry: Entry, of_request: Sequence[Entry]) -> list[Part]:
        """Give credits of a request back to the grants that it burnt, the last one first."""
        given: list[Part] = []
        for grant, amount in _last(self._burnt(entry, of_request), entry.amount):
            lot = self.lots.get(grant or 0)
            if lot is not None:
                lot.remaining += amount
                given.append((lot.id, -amount))
        taken = self._take(entry.balance_after)
        missing = max(entry.balance_after, 0) - self.remaining
        if missing > 0:
            # It had burnt no grant: it was charged before there were any, or below zero.
            self.lots[entry.id] = Lot(entry.id, missing, missing)
        return [*given, *taken]

    def _burnt(self, entry: Entry, of_request: Sequence[Entry]) -> list[Share]:
        """What a request has burnt so far, without what it got back."""
        burnt: list[Share] = []
        for before in of_request:
            if before.id >= entry.id:
                break
            if before.amount < 0:
                burnt += self._shares_of(before)
            else:
                _ = [*_last(burnt, before.amount)]
        return burnt

    def _shares_of(self, entry: Entry) -> Iterator[Share]:
        for range_ in self.ranges:
            if range_.entries_after < entry.id <= range_.up_to:
                return range_.shares_of(entry)
        return iter(((None, -entry.amount),))


def _last(shares: list[Share], amount: int) -> Iterator[Share]:
    """Remove an amount from the end."""
    while amount > 0 and shares:
        grant, share = shares.pop()
        taken = min(share, amount)
        if taken < share:
            shares.append((grant, share - taken))
        amount -= taken
        yield grant, taken


def merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Join parts of one grant that follow on each other."""
    left = deque(parts)
    while left:
        grant, amount = left.popleft()
        while left and left[0][0] == grant and (left[0][1] > 0) == (amount > 0):
            amount += left.popleft()[1]
        yield grant, amount
