"""One charge explained: everything that led to it. Writes nothing."""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from tokenbalance.books.pricing.bill import explain_charge
from tokenbalance.books.pricing.rates import rates_from
from tokenbalance.books.reports.entries import entries_of_request
from tokenbalance.books.reports.requests import read_requests, request_rows
from tokenbalance.database.tables import HoldRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.pricing.bill import Bill
    from tokenbalance.books.reports.entries import EntryRow
    from tokenbalance.books.reports.requests import RequestRow
    from tokenbalance.model import Rates, Trace


_SUCCESSES: Final = range(200, 300)


class UnknownRequest(LookupError):
    """No request has this id, or it is another account's; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A request, from its estimate to its final cost."""

    request: RequestRow
    estimated_input: int
    """Tokens: the ceiling of the input that the hold covered."""
    estimated_output: int
    """Tokens: the ceiling of all choices together."""
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
    hold = await _find(session, request_id, account_id) if request_id.isprintable() else None
    if hold is None:
        msg = f"no request has the id {request_id!a}"
        raise UnknownRequest(msg)
    (request,) = await read_requests(session, _only(hold))
    return Explanation(
        request=request,
        estimated_input=hold.estimated_input,
        estimated_output=hold.estimated_output,
        bill=None if request.usage is None else explain_charge(request.usage, _rates_of(hold)),
        entries=await entries_of_request(session, hold.account_id, hold.request_id),
    )


def _rates_of(hold: HoldRecord) -> Rates | None:
    return None if hold.rates is None else rates_from(hold.rates)


async def _find(
    session: AsyncSession, request_id: str, account_id: int | None
) -> HoldRecord | None:
    query = select(HoldRecord).where(HoldRecord.request_id == request_id)
    if account_id is not None:
        query = query.where(HoldRecord.account_id == account_id)
    return await session.scalar(query.limit(1))


def _only(hold: HoldRecord) -> Select[*tuple[Any, ...]]:
    return request_rows(HoldRecord).where(
        HoldRecord.account_id == hold.account_id, HoldRecord.request_id == hold.request_id
    )
