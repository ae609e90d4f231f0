"""Metrics: what `/metrics` reports to Prometheus, exact over all workers of a server.

The label values are bounded: endpoints and kinds of tokens by their tables, statuses by what HTTP
defines. No user, key, model or path of a request may become one. The ledger is the truth about
credits; counters begin at zero with the server.

    on the request path    a look-up in a dict and three additions of plain numbers a request; of a
                           charge, one for each kind of token: `counts`
    every turn of the      what was counted is added to the metrics, which have locks and files
    event loop
    every PUBLISH_S        gauges are written, for the worker that serves the next `/metrics`
    on `/metrics`          the files of all workers are added up; the books are queried, rarely
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from tokenbalance.books.pricing.rates import split
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.errors import ProxyError
from tokenbalance.openai import SURFACE
from tokenbalance.telemetry.counts import Count, Counts, Durations, Times
from tokenbalance.telemetry.worker_files import count_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from prometheus_client.metrics_core import Metric

    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.model import Charge, Hold, Usage
    from tokenbalance.openai import Surface
    from tokenbalance.owners.journal import ObjectJournal
    from tokenbalance.telemetry.metrics_access import MetricsAccess
    from tokenbalance.telemetry.totals import BooksWatch, Totals

PUBLISH_S: Final = 1.0
UNKNOWN: Final = "unknown"
"""The endpoint of a request that the table has no row for."""
DURATIONS_S: Final = (0.05, 0.25, 1.0, 4.0, 15.0, 60.0, 300.0)
"""Buckets: from a refusal to a model that reasons for minutes."""

# As the proxy reads them: the original project's clients write a slash at the end.
_TARGET: Final = re.compile(rb"/v1(/.*)|/api/openai(/.*?)/*", re.DOTALL)
_STATUSES: Final = frozenset(int(status) for status in HTTPStatus)

# Otherwise each counter would get a second series, but only where one process serves alone.
disable_created_metrics()

metrics_router = APIRouter(tags=["Health"])


@dataclass(frozen=True, slots=True)
class Watched:
    """What is in progress in this process."""

    leases: Leases
    ends: Sized
    """Settlements and voids that are not committed yet."""
    waiters: Sized
    objects: ObjectJournal


class Metrics:
    """The metrics of one application; created before it serves."""

    def __init__(self, watched: Watched, books: BooksWatch, surface: Surface = SURFACE) -> None:
        self._watched = watched
        self._books = books
        self._surface = surface
        self._exact = {
            (operation.method, b"/v1" + operation.path.encode()): operation.path
            for operation in surface.operations
            if "{" not in operation.path
        }
        self._shared = count_together()
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "tokenbalance_requests_total",
            "Requests by endpoint and status; status 0: the client left first.",
            ["endpoint", "status"],
            registry=registry,
        )
        self._durations = Times(
            "tokenbalance_request_duration_seconds",
            "From the head of a request to the end of its response.",
            ["endpoint"],
            registry=registry,
            buckets=DURATIONS_S,
        )
        self._first_bytes = Times(
            "tokenbalance_upstream_first_byte_seconds",
            "From the head of a request for a stream to the head of the upstream's response.",
            ["endpoint"],
            registry=registry,
            buckets=DURATIONS_S,
        )
        self._answers: dict[str, Durations] = {}
        self._counts = Counts()
        self._credits = _Credits(registry, self._counts)
        self._gauges = _Gauges(registry)
        self._series: dict[tuple[str, int], _Series] = {}

    def responded(self, method: str, raw_path: bytes, status: int, seconds: float) -> None:
        """Count a request whose response has ended.

        Args:
            method: as received.
            raw_path: as received, with its prefix.
            status: of the response; 0 when the client left before.
            seconds: how long it took.

        """
        endpoint = self._exact.get((method, raw_path)) or self._endpoint_of(method, raw_path)
        series = self._series.get((endpoint, status)) or self._begin(endpoint, status)
        series.requests.add(1)
        series.durations.add(seconds)

    def answered(self, endpoint: str, seconds: float) -> None:
        """Count a response of the upstream to a request for a stream.

        Other responses begin when their output is complete: their duration says as much.

        Args:
            endpoint: the path of its operation.
            seconds: from the head of the request to the head of the upstream's response.

        """
        series = self._answers.get(endpoint)
        if series is None:
            times = self._first_bytes.labels(endpoint)
            series = self._answers[endpoint] = self._counts.of_times(times)
        series.add(seconds)

    def charged(self, hold: Hold, usage: Usage, charge: Charge, expired: bool) -> None:  # noqa: FBT001 - the signature of `Book.on_charge`
        """Count a charge that was committed.

        Args:
            hold: its hold; of 0 credits where the amount is not known here.
            usage: what was used.
            charge: what that cost.
            expired: the sweep ended it, since its process had died.

        """
        counts = self._credits
        counts.charged.add(charge.amount)
        for kind, tokens in split(usage).items():
            counts.tokens[kind].add(tokens)
        if 0 < hold.amount < charge.amount:
            counts.overrun.add(charge.amount - hold.amount)
        if usage.estimated:
            counts.estimated.add(1)
        if expired:
            counts.expired.add(1)

    async def run(self) -> None:
        """Publish the gauges to the other workers, until cancelled."""
        while self._shared is not None:
            self._publish()
            await asyncio.sleep(PUBLISH_S)

    async def page(self) -> bytes:
        """All metrics of the server and its books in Prometheus's text format."""
        self._publish()
        totals = await self._books.totals()
        counted = (
            self._registry
            if self._shared is None
            else MultiProcessCollector(None, str(self._shared))
        )
        return generate_latest(counted) + generate_latest(_Books(totals))

    def _endpoint_of(self, method: str, raw_path: bytes) -> str:
        target = _TARGET.fullmatch(raw_path)
        if target is None:
            return UNKNOWN
        try:
            return self._surface.find(method, target[1] or target[2]).path
        except ProxyError:
            return UNKNOWN

    def _begin(self, endpoint: str, status: int) -> _Series:
        shown = str(status) if status in _STATUSES or not status else f"{status // 100}xx"
        series = _Series(
            self._counts.of(self._requests.labels(endpoint, shown)),
            self._counts.of_times(self._durations.labels(endpoint)),
        )
        self._series[endpoint, status] = series
        return series

    def _publish(self) -> None:
        self._counts.publish()
        self._gauges.holds_open.set(len(self._watched.leases))
        self._gauges.settlements.set(len(self._watched.ends))
        self._gauges.waiters.set(len(self._watched.waiters))
        self._gauges.journal.set(self._watched.leases.ready and self._watched.objects.ready)


class _Series(NamedTuple):
    """Where requests of one endpoint and status are counted."""

    requests: Count
    durations: Durations


class _Credits:
    def __init__(self, registry: CollectorRegistry, counts: Counts) -> None:
        def counter(name: str, help_text: str) -> Count:
            return counts.of(Counter(f"tokenbalance_{name}", help_text, registry=registry))

        self.charged = counter("credits_charged_total", "Credits charged.")
        tokens = Counter(
            "tokenbalance_tokens_charged_total",
            "Tokens charged by kind; each has one.",
            ["kind"],
            registry=registry,
        )
        self.tokens = {kind: counts.of(tokens.labels(kind)) for kind in UNITS.tokens}
        self.overrun = counter("credits_overrun_total", "Credits charged beyond what was held.")
        self.estimated = counter(
            "charges_estimated_total",
            "Charges whose usage was counted, not reported by the upstream.",
        )
        self.expired = counter(
            "holds_expired_total", "Holds ended by the sweep because their process had died."
        )


class _Gauges:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.holds_open = Gauge(
            "tokenbalance_holds_open",
            "Requests with a hold, or about to have one, in this server.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.settlements = Gauge(
            "tokenbalance_settlements_pending",
            "Ends of holds that are not committed yet, in this server.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.waiters = Gauge(
            "tokenbalance_waiters",
            "Requests that wait for open holds of their account, in this server.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.journal = Gauge(
            "tokenbalance_journal_healthy",
            "1 when every worker can write its journals, of requests and of objects.",
            registry=registry,
            multiprocess_mode="livemin",
        )


class _Books:
    """The totals of the books as a collector; left out while the database is unavailable."""

    def __init__(self, totals: Totals | None) -> None:
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        totals = self._totals
        yield GaugeMetricFamily(
            "tokenbalance_database_up", "1 when the books can be read.", int(totals is not None)
        )
        if totals is None:
            return
        yield GaugeMetricFamily(
            "tokenbalance_balance_credits", "Credits of all accounts.", totals.balance
        )
        yield GaugeMetricFamily(
            "tokenbalance_held_credits", "Of these, held by open holds.", totals.held
        )
        yield GaugeMetricFamily(
            "tokenbalance_books_open_holds", "Open holds of all servers.", totals.open_holds
        )


@metrics_router.get(
    "/metrics",
    summary="Metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> PlainTextResponse:
    """Counters and gauges of this server, all its workers together.

    Needs the token of `TOKENBALANCE_METRICS_TOKEN`, or without one a private address.
    """
    cast("MetricsAccess", request.state.metrics_access).check(request)
    page = await cast("Metrics", request.state.metrics).page()
    return PlainTextResponse(page, media_type=CONTENT_TYPE_PLAIN_0_0_4)
