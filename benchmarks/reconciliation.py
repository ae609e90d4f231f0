"""Compares the upstream's responses, what clients received, and the books.

One line with ids for each disagreement. Three things are counted and are not breaches: a response
that a fault swallowed whole (what never began to arrive cannot be charged), a charge by estimate
(flagged, with its error), and the estimate for a request whose process crashed before it could
know that no response came.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from benchmarks.upstream import Kind, number_of

if TYPE_CHECKING:
    import asyncpg

    from benchmarks.clients import Received
    from benchmarks.upstream import Served
    from tokenbalance.database.connections import Pool

_BOOKS: Final = """
SELECT model, request_id, account_id, 'open' AS state, false AS estimated, 0 AS charges,
       0::bigint AS net
  FROM open_holds
 WHERE amount > 0 AND model IS NOT NULL
 UNION ALL
SELECT e.model, e.request_id, e.account_id, e.state, coalesce(c.estimated, e.estimated),
       (e.kind = 'charge')::int, (-e.amount - coalesce(later.amount, 0))::bigint
  FROM ledger e
  LEFT JOIN ledger c ON c.request_id = e.request_id AND c.account_id = e.account_id
   AND c.kind = 'adjustment'
  LEFT JOIN (SELECT account_id, request_id, sum(amount) AS amount
               FROM ledger
              WHERE state IS NULL AND request_id IS NOT NULL
              GROUP BY account_id, request_id) later
    ON later.request_id = e.request_id AND later.account_id = e.account_id
 WHERE e.state IS NOT NULL AND e.model IS NOT NULL
"""
_RETRYABLE: Final = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class Booked:
    """What the books say about one request."""

    request_id: str = "-"
    account_id: int = 0
    state: str = "no hold"
    estimated: bool = False
    charges: int = 0
    net: int = 0
    """Credits that it finally cost."""


@dataclass(slots=True)
class Reconciliation:
    """What was found."""

    breaches: list[str] = field(default_factory=list)
    responses: int = 0
    """2xx responses of the upstream of which something arrived."""
    exact: int = 0
    """Charged to the credit."""
    estimated: int = 0
    """Charged by estimate, because no usage arrived or the process crashed."""
    estimated_off_by: int = 0
    """Credits that those were charged too much, minus those too little."""
    swallowed: int = 0
    """Responses of the upstream of which nothing arrived."""
    for_nothing: int = 0
    """Charged by estimate after a crash, although no response had come."""
    for_nothing_credits: int = 0
    errors: int = 0
    """Errors of the upstream, none of which was charged."""
    statuses: Counter[str] = field(default_factory=Counter)
    """How many clients received what."""
    unavailable_s: list[float] = field(default_factory=list)
    """How long each client waited for a 503 of the proxy, including the wait for other holds of its
    account and the time for which its worker was frozen."""

    def lines(self) -> list[str]:
        """Return the report, one line per fact."""
        received = ", ".join(f"{count} {name}" for name, count in self.statuses.most_common())
        half_s, most_s, all_s = (_share(self.unavailable_s, share) for share in (0.5, 0.9, 1))
        off_by, for_nothing = f"{self.estimated_off_by:+}", self.for_nothing_credits
        return [
            f"clients received: {received}",
            f"503 of the proxy within: {half_s:.1f} s (half), {most_s:.1f} s (90 %), {all_s:.1f} s",
            f"responses of the upstream: {self.responses}, charged exactly: {self.exact}",
            f"charged by estimate: {self.estimated}, off by {off_by} credits in total",
            f"charged by estimate without a response: {self.for_nothing}, {for_nothing} credits",
            f"errors of the upstream: {self.errors}",
            f"responses lost before their first byte: {self.swallowed}",
        ]


async def reconcile(
    pool: Pool, served: dict[int, Served], received: list[Received]
) -> Reconciliation:
    """Compare the three and return what was found."""
    found = Reconciliation()
    books = _by_number(await pool.fetch(_BOOKS, deadline_s=60), found)
    for each in received:
        _count_status(each, found)
        _Request(each, served.get(each.request.number), books, found).check()
    return found


def _by_number(rows: list[asyncpg.Record], found: Reconciliation) -> dict[int, Booked]:
    books: dict[int, Booked] = {}
    for model, *rest in (tuple(row) for row in rows):
        booked = Booked(*rest)
        number = number_of(model)
        if number in books:
            found.breaches.append(f"two holds for one request: {books[number]} and {booked}")
        books[number] = booked
    return books


def _count_status(received: Received, found: Reconciliation) -> None:
    if received.hung_up:
        name = "hung up"
    elif received.status is None:
        name = "no response"
    elif received.code == "of the upstream":
        name = f"{received.status} of the upstream"
    elif received.status == HTTPStatus.OK:
        name = "200 complete" if received.complete else "200 broken off"
    else:
        name = f"{received.status} {received.code}"
    found.statuses[name] += 1
    if received.code == "service_unavailable":
        found.unavailable_s.append(received.ended - received.began)


def _share(seconds: list[float], share: float) -> float:
    """Return the time within which this share of them lies."""
    return sorted([0.0, *seconds])[round(share * len(seconds))]


class _Request:
    """One request, seen from three sides."""

    def __init__(
        self,
        received: Received,
        served: Served | None,
        books: dict[int, Booked],
        found: Reconciliation,
    ) -> None:
        self._received = received
        self._served = served
        self._booked = books.get(received.request.number, Booked())
        self._found = found

    def check(self) -> None:
        served, booked = self._served, self._booked
        if served is not None and served.times > 1:
            self._breach(f"was sent upstream {served.times} times")
        if booked.state == "open":
            self._breach("its hold is still open")
        if booked.charges > 1:
            self._breach(f"was charged {booked.charges} times")
        if served is not None and served.kind.status == HTTPStatus.OK and served.responded:
            self._check_responded(served)
        elif not self._may_be_charged(served):
            self._check_uncharged()

    def _check_responded(self, served: Served) -> None:
        self._found.responses += 1
        status = self._received.status
        if status is not None and (
            status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        ):
            self._breach("the client may retry, although the upstream had responded")
        if self._booked.charges == 0:
            self._breach("got a response of the upstream and was not charged")
        elif self._booked.estimated:
            self._check_estimated(served)
        elif self._booked.net != served.total:
            self._breach(f"used {served.total} tokens")
        else:
            self._found.exact += 1

    def _check_estimated(self, served: Served) -> None:
        self._found.estimated += 1
        off_by = self._booked.net - served.total
        self._found.estimated_off_by += off_by
        # Output that was relayed whole can be counted exactly. An error instead of it is none.
        relayed = self._received.complete and self._received.status == HTTPStatus.OK
        if relayed and (off_by or served.kind is not Kind.BARE):
            self._breach(f"is charged by estimate, the client has all of its {served.total} tokens")

    def _may_be_charged(self, served: Served | None) -> bool:
        """Count what could not be known, and what was rightly charged anyway."""
        if served is not None and not served.responded and served.kind.status == HTTPStatus.OK:
            self._found.swallowed += 1
        if served is not None and served.responded:
            self._found.errors += 1
        if self._booked.charges == 0:
            return False
        said_so = self._received.status == HTTPStatus.FAILED_DEPENDENCY
        gone = self._booked.state == "expired" and self._received.status is None
        if said_so or gone:
            self._found.for_nothing += 1
            self._found.for_nothing_credits += self._booked.net
        return said_so or gone

    def _check_uncharged(self) -> None:
        if self._booked.net != 0:
            self._breach("cost something, although there was no response")
        if self._received.status == HTTPStatus.OK:
            self._breach("the client received 200, the upstream knows of no response")

    def _breach(self, what: str) -> None:
        received, booked = self._received, self._booked
        request = received.request
        self._found.breaches.append(
            f"request {booked.request_id} of account {booked.account_id}"
            f" ({request.kind} {request.number}, {booked.state}, charges {booked.charges},"
            f" net {booked.net}, estimated {booked.estimated}, client received {received.status}"
            f" {received.code or '-'}, hung up {received.hung_up}): {what}"
        )
