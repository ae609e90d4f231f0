"""One charge explained: everything that led to it. Writes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.pricing.bill import explain_charge
from tokenbalance.books.pricing.factors import tiers_of
from tokenbalance.books.pricing.rates import ASKED, asked_from
from tokenbalance.books.pricing.units import TIER, UNITS
from tokenbalance.books.reports.entries import entries_of_request
from tokenbalance.books.reports.lookups import by_request_only
from tokenbalance.books.reports.request_rows import (
    correction_of,
    ended_rows,
    open_rows,
    read_ended,
    read_open,
)
from tokenbalance.database.tables import LedgerEntry, OpenHold
from tokenbalance.model import PLAIN, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.pricing.bill import Bill
    from tokenbalance.books.reports.entries import EntryRow
    from tokenbalance.books.reports.request_rows import RequestRow
    from tokenbalance.model import Conditions, Json, Rates, Trace


_SUCCESSES: Final = range(200, 300)
_USUAL_TIERS: Final = (PLAIN.tier, "default", "standard")
_USAGE_CORRECTED_BY: Final = "proxy"
"""The actor of an adjustment by the true usage; a rerate has another one."""


class UnknownRequest(LookupError):
    """No request has this id, or it is another account's; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """How much of one kind was used."""

    kind: str
    label: str
    """The kind for people."""
    number: int
    """As reported: a side includes its parts."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A request, from its estimate to its final cost."""

    request: RequestRow
    bill: Bill | None
    """Lines by kind, their sum, rounding and charge; None if nothing was charged."""
    entries: Sequence[EntryRow]
    """The charge, its correction and refunds, oldest first."""

    @property
    def notes(self) -> Sequence[str]:
        """What is to be known of it, in sentences: why it is free, what capped it, new prices."""
        request = self.request
        notes = (
            _why_free(request),
            _what_capped(request.trace),
            self._which_tier(),
            *_price_corrections(self.entries),
        )
        return [note for note in notes if note]

    @property
    def quantities(self) -> Sequence[Quantity]:
        """What was used, in the order of the table; the tier is no quantity to people."""
        used = (self.request.usage or Usage()).quantities
        others = sorted(used.keys() - set(UNITS.names))
        return [
            Quantity(kind, UNITS.label(kind), used[kind])
            for kind in (*UNITS.names, *others)
            if kind in used and not kind.startswith(TIER)
        ]

    @property
    def tier_asked(self) -> str | None:
        """The service tier that was asked for; None: none, or one that stands for the usual one."""
        asked = _asked(self.request.rates)
        # A rerate stores `default` where nothing was asked for.
        return None if asked is None or asked.tier in _USUAL_TIERS else asked.tier

    @property
    def tier_served(self) -> str | None:
        """The service tier that the response named; None: none, or one that changes no price."""
        return next(iter(tiers_of(self.request.usage or Usage())), None)

    @property
    def models(self) -> Mapping[str, str]:
        """By kind of a second bill, the model whose rates it has."""
        asked = _asked(self.request.rates)
        if asked is None:
            return {}
        names = {"image_model": asked.image_model, "svg_model": asked.svg_model}
        found = ((kind, names[source.model]) for kind, source in UNITS.copied)
        return {kind: name for kind, name in found if name is not None}

    @property
    def charge_at_end(self) -> int:
        """Credits that it was charged when it ended, before any correction."""
        return -sum(entry.amount for entry in self.entries if entry.kind == "charge")

    @property
    def cost(self) -> int:
        """Credits that it cost after corrections and refunds."""
        return -sum(entry.amount for entry in self.entries)

    def _which_tier(self) -> str:
        rates, tier = self.request.rates, self.tier_served
        if tier is None or rates is None or rates.factors is None or tier in rates.factors.tiers:
            return ""
        return f"The rate card has no factor for the service tier {tier}: the highest was charged."


def _asked(rates: Rates | None) -> Conditions | None:
    """Read what a request asked for from its rates; None without a card."""
    if rates is None:
        return None
    document = cast("dict[str, Json]", json.loads(rates.text))
    return asked_from(cast("dict[str, Json]", document.get(ASKED, {})))


def _why_free(request: RequestRow) -> str:
    trace = request.trace
    if request.state != "voided" or trace.total_ms is None:
        return ""
    code = f" ({trace.error_code})" if trace.error_code else ""
    if trace.upstream_status is None:
        if not code:
            return "It was never sent to the upstream, so nothing was charged."
        return f"The upstream did not respond{code}, so nothing was charged."
    if trace.upstream_status in _SUCCESSES:
        what = "was an error" if code else "had nothing in it"
        return f"The response of the upstream {what}{code}, so nothing was charged."
    status = trace.upstream_status
    return f"The upstream responded with status {status}{code}, so nothing was charged."


def _what_capped(trace: Trace) -> str:
    if not trace.capped or trace.output_cap is None:
        return ""
    limit = f"{trace.output_cap:,} token{'' if trace.output_cap == 1 else 's'}"
    return f"The output was capped at {limit}: the balance did not cover more."


def _price_corrections(entries: Iterable[EntryRow]) -> Iterator[str]:
    """Say of each rerate when it was, and what the request was charged before it."""
    charge = 0
    for entry in entries:
        if entry.kind == "adjustment" and entry.actor != _USAGE_CORRECTED_BY:
            day = entry.created_at.astimezone(UTC).date()
            yield f"Its price was corrected on {day}: it was charged {charge:,} before."
        if entry.kind != "refund":
            charge -= entry.amount


async def explain(
    session: AsyncSession, request_id: str, account_id: int | None = None
) -> Explanation:
    """Explain one request, whatever its state.

    Args:
        session: the caller's.
        request_id: which request.
        account_id: the account that it must belong to; None: any.

    Raises:
        UnknownRequest: no request has this id, or it is another account's.

    """
    found = await _find(session, request_id, account_id) if request_id.isprintable() else ()
    if not found:
        raise unknown_request(request_id)
    request = found[0]
    return Explanation(
        request=request,
        bill=_bill(request),
        entries=await entries_of_request(session, request.account_id, request.request_id),
    )


def unknown_request(request_id: str) -> UnknownRequest:
    """Write that no request has an id, or none that may be found."""
    return UnknownRequest(f"no request has the id {request_id!a}")


def _bill(request: RequestRow) -> Bill | None:
    """Explain the charge of a request and its correction together."""
    if request.usage is None:
        return None
    return explain_charge(request.usage, request.rates)


async def _find(
    session: AsyncSession, request_id: str, account_id: int | None
) -> Sequence[RequestRow]:
    # A request that ends between the two statements is found by the second.
    is_open = open_rows(OpenHold).where(OpenHold.request_id == request_id)
    if account_id is not None:
        is_open = is_open.where(OpenHold.account_id == account_id)
    if found := await read_open(session, is_open.limit(1)):
        return found
    ended = ended_rows(LedgerEntry, correction_of(LedgerEntry)).where(
        LedgerEntry.request_id == request_id, LedgerEntry.state.is_not(None)
    )
    if account_id is not None:
        ended = ended.where(by_request_only(LedgerEntry.account_id) == account_id)
    return await read_ended(session, ended.limit(1))
