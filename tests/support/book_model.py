"""A model of the books: a dictionary of holds and a list of entries, without any SQL."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import asyncpg

from tokenbalance.books.ledger.book import UnknownHold
from tokenbalance.model import Charge, Claim, Usage

TOMBSTONE = "never placed"
"""The state of what has no row, and cannot be placed any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    kind: str
    amount: int
    balance_after: int
    request_id: str | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What a request used, and what it was charged."""

    charge: int
    overrun: int
    input: int
    output: int
    estimated: bool
    corrected: bool = False


@dataclass(slots=True)
class ModelHold:
    """A hold as it should be."""

    amount: int
    state: str = "open"
    known_input: int = 0
    known_output: int = 0
    has_lapsed: bool = False
    record: Record | None = None

    @property
    def row(self) -> tuple[object, ...]:
        """As the tables have it; what a lease says matters as long as the hold is open."""
        if self.state != "open":
            return (self.amount, self.state, 0, 0, False, self.record)
        known = (self.known_input, self.known_output)
        return (self.amount, self.state, *known, self.has_lapsed, self.record)

    @property
    def is_request(self) -> bool:
        """Whether it has a row."""
        return self.state != TOMBSTONE

    @property
    def may_be_placed_again(self) -> bool:
        """Whether a late placement may come: not once a request that was placed has ended."""
        return self.state == "open" or self.amount == 0

    @property
    def known(self) -> Usage:
        """What it is charged if its process is gone; of no use once it has ended."""
        if self.state != "open":
            return Usage(estimated=True)
        total = self.known_input + self.known_output
        return Usage(
            {"input": self.known_input, "output": self.known_output}, total=total, estimated=True
        )


@dataclass(slots=True)
class ModelAccount:
    """An account as it should be."""

    overdraft: int
    entries: list[Entry] = field(default_factory=list)
    holds: dict[str, ModelHold] = field(default_factory=dict)
    may_be_overdrawn: bool = False
    """Set by what may lower a balance below the overdraft: an overrun, or a correction that comes
    late."""

    @property
    def balance(self) -> int:
        return sum(entry.amount for entry in self.entries)

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.state == "open")

    @property
    def limit(self) -> int:
        return self.balance + self.overdraft

    def enter(
        self, kind: str, amount: int, request_id: str | None = None, *, estimated: bool = False
    ) -> None:
        self.entries.append(Entry(kind, amount, self.balance + amount, request_id, estimated))

    def enter_by_hand(self, kind: str, amount: int) -> int:
        """Add an entry that takes nothing of what is held; returns what was kept of it."""
        entered = max(amount, min(self.held - self.limit, 0))
        self.enter(kind, entered)
        return entered - amount

    def place(self, request_id: str, claim: Claim) -> int | None:
        amount = min(claim.wanted, self.limit)
        if amount < claim.minimum or amount > self.limit - self.held:
            return None
        if request_id in self.holds:
            raise asyncpg.UniqueViolationError
        self.holds[request_id] = ModelHold(amount, known_input=claim.known_input)
        return amount

    def settle(self, request_id: str, usage: Usage) -> Charge | None:
        hold = self.holds.get(request_id)
        if hold is None:
            raise UnknownHold
        if hold.state == "open":
            self._charge(request_id, usage, "settled")
        elif hold.state == "expired":
            self._correct(request_id, usage)
        if hold.record is None:
            return None
        return Charge(hold.record.charge, self.balance, self.held)

    def expire(self, request_id: str, usage: Usage, *, orphaned: bool) -> bool:
        hold = self.holds.get(request_id)
        if hold is None or hold.state != "open" or not (orphaned or hold.has_lapsed):
            return False
        self._charge(request_id, usage, "expired")
        return True

    def void(self, request_id: str) -> None:
        hold = self.holds.get(request_id)
        if hold is not None and hold.state == "open":
            hold.state = "voided"
        elif hold is not None and hold.state == "expired":
            self._correct(request_id, Usage())

    def leave_tombstone(self, request_id: str) -> None:
        if request_id in self.holds:
            self.void(request_id)
        else:
            self.holds[request_id] = ModelHold(0, TOMBSTONE)

    def renew(self, request_id: str, seen: Usage | None) -> None:
        hold = self.holds.get(request_id)
        if hold is None or hold.state != "open":
            return
        hold.has_lapsed = False
        if seen is not None:
            hold.known_input, hold.known_output = seen.input, seen.output

    def lapsed(self) -> dict[str, ModelHold]:
        return {
            request_id: hold
            for request_id, hold in self.holds.items()
            if hold.state == "open" and hold.has_lapsed
        }

    def _charge(self, request_id: str, usage: Usage, state: str) -> None:
        hold = self.holds[request_id]
        hold.state = state
        hold.record = record_of(hold, usage)
        self.may_be_overdrawn |= hold.record.overrun > 0
        self.enter("charge", -usage.total, request_id, estimated=usage.estimated)

    def _correct(self, request_id: str, usage: Usage) -> None:
        hold = self.holds[request_id]
        assert hold.record is not None
        if hold.record.corrected:
            return
        difference = hold.record.charge - usage.total
        hold.record = replace(record_of(hold, usage), corrected=True)
        self.may_be_overdrawn |= difference < 0
        if difference:
            self.enter("adjustment", difference, request_id, estimated=usage.estimated)


def record_of(hold: ModelHold, usage: Usage) -> Record:
    overrun = max(usage.total - hold.amount, 0)
    return Record(usage.total, overrun, usage.input, usage.output, usage.estimated)
