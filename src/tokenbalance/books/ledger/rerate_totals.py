"""What a rerate found and did, added up: in all, by model, by account. Knows no database."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.books.ledger.rerate_prices import Price

TOP_ACCOUNTS: Final = 20


@dataclass(slots=True)
class Sum:
    """Requests, and credits before and after."""

    requests: int = 0
    before: int = 0
    after: int = 0

    def add(self, before: int, after: int) -> None:
        """Add a request."""
        self.requests += 1
        self.before += before
        self.after += after

    @property
    def difference(self) -> int:
        """Credits that accounts pay more, negative: less."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Why requests to a model were left as they are."""

    model: str
    """Empty if none is known."""
    reason: str


@dataclass(slots=True)
class Totals:
    """The sums of one rerate."""

    all: Sum = field(default_factory=Sum)
    """Of the requests that the card has a price for."""
    models: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    accounts: dict[int, Sum] = field(default_factory=lambda: defaultdict(Sum))
    """By id."""
    unpriced: dict[Unpriced, Sum] = field(default_factory=lambda: defaultdict(Sum))
    """The requests that were left as they are."""
    entries: int = 0
    """Requests whose cost changes: adjusting entries that were made, or would be."""
    limited: int = 0
    """Requests that cost more than is due, because more was refunded before."""
    changed_meanwhile: int = 0
    """Requests that were left because something else was entered for them again and again."""

    def add(self, account_id: int, model: str, before: int, price: Price) -> None:
        """Add a request that has a price."""
        after = price.charge
        for cost in (self.all, self.models[model], self.accounts[account_id]):
            cost.add(before, after)
        self.entries += after != before
        self.limited += after != price.due

    def top_accounts(self) -> Sequence[tuple[int, Sum]]:
        """The accounts whose cost changes most, by id, the largest change first."""
        by_change = sorted(
            self.accounts.items(), key=lambda item: (-abs(item[1].difference), item[0])
        )
        return by_change[:TOP_ACCOUNTS]
