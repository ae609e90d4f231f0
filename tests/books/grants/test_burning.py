"""Burning late gives what burning at every charge gives, over random histories."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tokenbalance.books.grants.burning import Entry, Lot, Lots

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
HISTORIES = 20
STEPS = 600


@dataclass
class Eager:
    """Grants that every entry is burnt from at once, credit by credit of each request."""

    lots: dict[int, Lot] = field(default_factory=dict[int, Lot])
    balance: int = 0
    stacks: dict[str, list[tuple[int | None, int]]] = field(
        default_factory=dict[str, list[tuple[int | None, int]]]
    )

    def charge(self, request: str, amount: int, moment: datetime | None) -> None:
        self.balance -= amount
        taken = self.take(moment)
        owed = amount - sum(part for _, part in taken)
        self.stacks.setdefault(request, []).extend(taken)
        if owed:
            self.stacks[request].append((None, owed))

    def take(self, moment: datetime | None = None) -> list[tuple[int | None, int]]:
        taken: list[tuple[int | None, int]] = []
        while sum(lot.remaining for lot in self.lots.values()) > max(self.balance, 0):
            excess = sum(lot.remaining for lot in self.lots.values()) - max(self.balance, 0)
            first = min(
                (lot for lot in self.lots.values() if lot.remaining),
                key=lambda lot: (moment is not None and lot.has_ended(moment), lot.order),
            )
            part = min(first.remaining, excess)
            first.remaining -= part
            taken.append((first.id, part))
        return taken

    def add(self, lot: Lot) -> None:
        self.balance += lot.amount
        self.lots[lot.id] = lot
        self.take()

    def refund(self, entry: int, request: str, amount: int) -> None:
        self.balance += amount
        left = amount
        while left and self.stacks[request]:
            source, part = self.stacks[request].pop()
            back = min(part, left)
            if back < part:
                self.stacks[request].append((source, part - back))
            left -= back
            if source is not None:
                self.lots[source].remaining += back
        self.take()
        missing = max(self.balance, 0) - sum(lot.remaining for lot in self.lots.values())
        if missing:
            self.lots[entry] = Lot(entry, missing, missing)


@dataclass
class Late:
    """The same entries, burnt only when the set of grants changes."""

    lots: Lots = field(default_factory=lambda: Lots({}, 0, 0))
    waiting: list[Entry] = field(default_factory=list[Entry])
    of_requests: dict[str, list[Entry]] = field(default_factory=dict[str, list[Entry]])
    balance: int = 0
    plain: set[int] = field(default_factory=set[int])

    def enter(self, number: int, amount: int, request: str | None, moment: datetime) -> None:
        self.balance += amount
        entry = Entry(number, amount, self.balance, request, moment)
        self.waiting.append(entry)
        if request is not None:
            self.of_requests.setdefault(request, []).append(entry)

    def catch_up(self) -> None:
        others = [entry for entry in self.waiting if entry.id not in self.plain]
        self.lots.follow(others, self.of_requests)
        if self.waiting:
            self.lots.burn_charges(self.waiting[-1].id, self.balance)
        self.waiting.clear()

    def add(self, lot: Lot) -> None:
        self.catch_up()
        self.balance += lot.amount
        self.lots.note(lot.id, self.balance, self.lots.add(lot, self.balance))


def remains(lots: dict[int, Lot]) -> dict[int, int]:
    return {lot.id: lot.remaining for lot in lots.values() if lot.remaining}


@dataclass
class History:
    """What happens to both, at random."""

    chance: random.Random
    eager: Eager = field(default_factory=Eager)
    late: Late = field(default_factory=Late)
    charged: dict[str, int] = field(default_factory=dict[str, int])
    moment: datetime = BEGIN

    def step(self, number: int) -> None:
        self.moment += timedelta(hours=self.chance.choice((0, 1, 30)))
        action = self.chance.random()
        if action < 0.15:
            self.grant(number)
        elif action < 0.3 and any(self.charged.values()):
            self.refund(number)
        elif action < 0.4:
            # What people add is a grant without an end, also where it is burnt late.
            amount = self.chance.randint(1, 40)
            self.eager.add(Lot(number, amount, amount))
            self.late.enter(number, amount, None, self.moment)
        else:
            self.charge(number)

    def grant(self, number: int) -> None:
        amount = self.chance.randint(1, 60)
        end = self.moment + timedelta(days=self.chance.randint(1, 9))
        end_or_none = self.chance.choice((None, end))
        priority = self.chance.choice((50, 50, 1))
        for books in (self.eager, self.late):
            books.add(Lot(number, amount, amount, priority, end_or_none))

    def refund(self, number: int) -> None:
        request = self.chance.choice([name for name, left in self.charged.items() if left])
        amount = self.chance.randint(1, self.charged[request])
        self.charged[request] -= amount
        self.eager.refund(number, request, amount)
        self.late.enter(number, amount, request, self.moment)

    def charge(self, number: int) -> None:
        amount = self.chance.randint(0, 30)
        request = f"tb_{number}"
        self.charged[request] = amount
        ended = any(lot.has_ended(self.moment) for lot in self.eager.lots.values())
        self.eager.charge(request, amount, self.moment if ended else None)
        self.late.enter(number, -amount, request, self.moment)
        if not ended:
            self.late.plain.add(number)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_burning_late_gives_what_burning_at_once_gives(seed: int) -> None:
    history = History(random.Random(seed))  # noqa: S311 - not for secrets
    eager, late = history.eager, history.late
    for number in range(1, STEPS):
        history.step(number)
        if history.chance.random() < 0.1:
            late.catch_up()
            assert remains(late.lots.lots) == remains(eager.lots)
    late.catch_up()
    assert remains(late.lots.lots) == remains(eager.lots)
    assert late.lots.remaining == max(late.balance, 0)
    burnt: dict[int, int] = {}
    for range_ in late.lots.ranges:
        for grant, amount in range_.parts:
            burnt[grant] = burnt.get(grant, 0) + amount
    for lot in late.lots.lots.values():
        assert lot.remaining == lot.amount - burnt.get(lot.id, 0)
