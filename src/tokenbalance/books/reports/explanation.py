"""One charge explained: everything that led to it. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.bill import explain_charge
from tokenbalance.books.pricing.units import UNITS
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
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.pricing.bill import Bill
    from tokenbalance.books.reports.entries import EntryRow
    from tokenbalance.books.reports.request_rows import RequestRow
    from tokenbalance.model import Trace


_SUCCESSES: Final = range(200, 300)


class UnknownRequest(LookupError):
    """No request has this id, or it is another account's; the message is one line for people."""


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
        """What is to be known of its course, in sentences: why it cost nothing, what capped it."""
        notes = (_why_free(self.request), _what_capped(self.request.trace))
        return [note for note in notes if note]

    @property
    def quantities(self) -> Sequence[tuple[str, int]]:
        """What was used, by the label of its kind, as reported: a side includes its parts."""
        usage = self.request.usage or Usage()
        used = usage.quantities
        order = [*UNITS.names, *sorted(used.keys() - set(UNITS.names))]
        return [(UNITS.label(kind), used[kind]) for kind in order if kind in used]

    @property
    def cost(self) -> int:
        """Credits that it cost after corrections and refunds."""
        return -sum(entry.amount for entry in self.entries)


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
        msg = f"no request has the id {request_id!a}"
        raise UnknownRequest(msg)
    request = found[0]
    return Explanation(
        request=request,
        bill=_bill(request),
        entries=await entries_of_request(session, request.account_id, request.request_id),
    )


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
