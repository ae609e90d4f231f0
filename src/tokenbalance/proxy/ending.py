"""The end of one request's hold: settled or voided, exactly once, whatever happens to the request.

    free       needs no hold: every step and every end does nothing

    begun --place--> placing --placed--> held --dispatch--> dispatched --settle--> settled
      ^                 |
      '---not placed----'

    each of these --void--> voided; dispatched --settle--> voided, where nothing was used
    dispatched --refuse--> refused, which can only be voided: the upstream did not accept it

    stage        journal slot        books                          ended by `cut` as
    begun        placing             nothing                        voided: the slot is freed
    placing      placing             maybe a hold, now or soon      voided: a tombstone, in the
                                                                    background
    held         placing             an open hold                   voided
    dispatched   dispatched, used    an open hold                   settled with what was seen
    refused      void                an open hold                   voided
    settled      used, then free     a charge                       nothing is left to do
    voided       void, then free     a voided hold, or none         nothing is left to do

An end that has begun belongs to the `Settler`: it is repeated until the database has taken it, also
when the request is cancelled while it waits for that. So the first end counts, and later ones do
nothing. `cut` is the end of whatever was cancelled or broke off at an unknown point; it is called
last for every request, in a `finally`.

Only a process that dies leaves an ending open. The sweep of another process then voids the hold,
settles it, or expires it with what the journal or the last heartbeat of the lease says. A lease can
also lapse while this process lives but cannot reach the database; a later settlement then replaces
the estimate that was charged on expiry.

This file decides what a request is charged for. It knows no HTTP: what the upstream sent is seen
through a meter.
"""

from __future__ import annotations

import asyncio
import enum
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from tokenbalance.books.holds.journal import JournalUnavailable, State
from tokenbalance.books.pricing.ceilings import tokens_of
from tokenbalance.books.pricing.equivalents import as_charged, known_before
from tokenbalance.model import Purpose, Usage
from tokenbalance.openai.metering.bills import with_fees
from tokenbalance.openai.metering.doubt import is_doubtful, reckoned, with_drawn, within_reason
from tokenbalance.openai.metering.outcome import Metered, used_nothing
from tokenbalance.proxy.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tokenbalance.books.holds.leases import Lease, Leases
    from tokenbalance.books.holds.settler import Settler
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.model import Charge, Claim, Hold
    from tokenbalance.model.objects import Found
    from tokenbalance.openai.estimate import UsageCounter
    from tokenbalance.owners.registry import Owners
    from tokenbalance.proxy.asked import Asked

_NOTHING: Final = Usage()
_CHARGED: Final = frozenset({State.DISPATCHED, State.USED})


class Stage(enum.Enum):
    """How far a request's hold has come."""

    FREE = "needs no hold"
    BEGUN = "written down, not placed"
    PLACING = "perhaps placed"
    HELD = "placed, not dispatched"
    DISPATCHED = "sent upstream, or about to be"
    REFUSED = "refused by the upstream, not voided yet"
    SETTLED = "charged, or to be charged by the settler"
    VOIDED = "nothing was used"


class Meter(Metered, Protocol):
    """What the upstream has sent so far."""

    def relayed_texts(self) -> Sequence[str]:
        """The output text of each choice."""
        ...


@dataclass(slots=True, eq=False)
class Ending:
    """Owns the lease of one request, and with it the hold, until it has ended."""

    asked: Asked
    _leases: Leases
    _settler: Settler
    progress: Progress
    """What is kept of how it went."""
    ceiling: Usage = _NOTHING
    """What the request may use at most: charged where nobody can tell what it has used."""
    meter: Meter | None = None
    """None as long as nothing has come from the upstream."""
    owners: Owners | None = None
    """Who has objects that come of it; None where none do."""
    readable: bool = True
    """False where the meter cannot read what comes; the ceiling is charged then."""
    _lease: Lease | None = None
    """None after the end, and where no hold is needed."""
    _last: Stage = Stage.FREE
    """The stage, while there is no lease."""
    _count: UsageCounter | None = None
    """Made when something has to be counted, which is seldom."""

    @classmethod
    def begin(
        cls,
        asked: Asked,
        request_id: str,
        leases: Leases,
        settler: Settler,
        arrived: float | None = None,
    ) -> Ending:
        """Write the request down, before its hold is placed; free where it is not charged.

        Args:
            asked: the request.
            request_id: its name.
            leases: where its lease begins.
            settler: ends its hold.
            arrived: when its head had arrived, by `time.perf_counter`; None: now.

        Raises:
            JournalUnavailable: it cannot be written down, so it must not go on.

        """
        if arrived is None:
            arrived = time.perf_counter()
        ending = cls(asked, leases, settler, Progress(arrived, asked.streams))
        if asked.operation.charged:
            purpose = Purpose(request_id, asked.operation.path, asked.model, asked.rates)
            ending._lease = leases.begin(asked.caller, purpose)
        return ending

    @property
    def stage(self) -> Stage:
        """Where it stands."""
        lease = self._lease
        if lease is None:
            return self._last
        if lease.slot.state is not State.PLACING:
            return Stage.REFUSED if lease.slot.state is State.VOID else Stage.DISPATCHED
        if lease.placing:
            return Stage.PLACING
        return Stage.BEGUN if lease.hold is None else Stage.HELD

    @property
    def is_open(self) -> bool:
        """Whether it has yet to be ended."""
        return self._lease is not None

    @property
    def charged(self) -> bool:
        """Whether the request is charged, or will be as far as is known."""
        if self._lease is None:
            return self._last is Stage.SETTLED
        return self._lease.slot.state in _CHARGED

    def ask(self, asked: Asked) -> None:
        """Go on with a caller who was looked up again, before the hold is placed."""
        self.asked = asked
        if self._lease is not None:
            self._lease.caller = asked.caller

    def place(
        self, book: Book, claim: Claim, position: int | None = None
    ) -> Awaitable[Hold | None]:
        """Place the hold, if it fits at this moment; `position` is its own among the waiters.

        Raises:
            ValueError: the request needs no hold, or has ended.

        """
        if self._lease is None:
            raise ValueError("There is no hold to place.")
        return self._lease.place(book, claim, position)

    def dispatch(self) -> None:
        """Write down that the request is about to be sent upstream.

        Raises:
            JournalUnavailable: that is not possible; the request must not be sent.
            ValueError: no hold is placed, or the request was sent before, or has ended.

        """
        lease = self._lease
        if lease is None and self._last is Stage.FREE:
            return
        if lease is None or lease.hold is None:
            raise ValueError("Only a request with an open hold is dispatched.")
        lease.dispatch()
        lease.look = self._look
        if self.asked.operation.family.draws and self.ceiling.total:
            # Nobody can see how many images were drawn for a process that has died.
            self.note(replace(self.ceiling, estimated=True))
        elif self.asked.bound.more:
            # What another process would expire the hold with has only tokens.
            self.note(known_before(self.asked.bound.more, self.asked.rates))

    def refuse(self) -> None:
        """Write down that the upstream has refused the request: whatever follows, it is voided."""
        if self._lease is not None:
            # The books get it at the end anyway.
            with suppress(JournalUnavailable):
                self._lease.slot.void()

    def note(self, usage: Usage | None) -> None:
        """Write usage down that is not settled yet, so that it outlives this process."""
        if self._lease is not None and usage is not None:
            # The books get it at the end anyway.
            with suppress(JournalUnavailable):
                self._lease.slot.use(self._as_charged(usage))

    async def settle(self, *, whole: bool = False, found: Sequence[Found] = ()) -> Charge | None:
        """Charge what the meter has seen; void where that is nothing.

        Args:
            whole: everything that the upstream had to send has come.
            found: objects that the response names. They become the caller's in any case, with the
                charge where there is one, and are the caller's when this returns: committed, or
                in the journal where the database is away.

        Returns:
            The charge, when it is committed; None when nothing was used, when the end waits for the
            database in the journal, and when it had ended before.

        Raises:
            ValueError: the request was not sent.

        """
        lease = self._lease
        if lease is None:
            await self._record(found)
            return None
        if lease.hold is None or not self.charged:
            raise ValueError("Only a request that was dispatched is settled.")
        if self.meter is not None and self.readable and used_nothing(self.meter, ended=whole):
            await self._record(found)
            await self.void()
            return None
        usage = self._reported()
        self._close(lease, Stage.SETTLED)
        if self.owners is None or not found:
            return await self._charge(lease, lease.hold, usage)
        carried = self.owners.carry(lease.caller, found)
        lease.objects = carried.rows
        try:
            charge = await self._charge(lease, lease.hold, usage)
        except asyncio.CancelledError:
            # The settler has them, and this process may end before it.
            _ = carried.note()
            raise
        if charge is not None:
            carried.committed()
        elif not await carried.is_safe():
            await self._record(found)
        return charge

    async def void(self) -> None:
        """Give back whatever is held: nothing was used."""
        lease = self._lease
        if lease is None:
            return
        self._close(lease, Stage.VOIDED)
        if lease.placing:
            # It may have been committed although the response was lost, or may be yet.
            self._settler.leave_tombstone_later(lease)
        elif lease.hold is None:
            self._leases.end(lease)
        else:
            await self._settler.void(lease, lease.hold)

    async def cut(self) -> None:
        """End it here, wherever it stands: settled once it was dispatched, else voided."""
        if self.stage is Stage.DISPATCHED:
            _ = await self.settle()
        else:
            await self.void()

    def _reported(self) -> Usage | None:
        """The usage that the upstream has reported; None if it has to be counted."""
        meter = self.meter
        usage = None if meter is None else meter.usage
        if usage is None:
            return None
        if is_doubtful(usage, self.asked.operation, self.asked.document):
            self.note(usage)
            return None
        if meter is not None and meter.is_partial:
            usage = self._with_bills_of_ceiling(usage)
        usage = self._as_charged(within_reason(usage, self.ceiling))
        if meter is not None and meter.drawn:
            asked = self.asked
            draws = asked.operation.family.draws
            usage = with_drawn(usage, meter.drawn, asked.bound, self.ceiling, draws=draws)
        return usage

    def _charge(self, lease: Lease, hold: Hold, usage: Usage | None) -> Awaitable[Charge | None]:
        ceiling = self._with_unreported(self.ceiling)
        return self._settler.settle(lease, hold, usage, self._reckoned, ceiling)

    async def _record(self, found: Sequence[Found]) -> None:
        if self.owners is not None and found:
            await self.owners.record(self.asked.caller, found)

    def _close(self, lease: Lease, last: Stage) -> None:
        meter, progress = self.meter, self.progress
        if meter is not None and meter.failed:
            progress.error_code = meter.error_code
        lease.trace = progress.trace()
        self._lease, self._last = None, last

    def _with_bills_of_ceiling(self, usage: Usage) -> Usage:
        """Add what may be billed beside a usage, as far as it does not say so itself."""
        most = self.ceiling.quantities.items()
        known = {*usage.quantities, "input", "output"}
        more = tuple((kind, number) for kind, number in most if kind not in known)
        quantities = {**usage.quantities, **dict(more)}
        return Usage(quantities, usage.total + tokens_of(more), estimated=True)

    def _with_unreported(self, usage: Usage) -> Usage:
        """Add what the request uses in any case and no report has."""
        unreported = self.asked.bound.unreported
        return with_fees(usage, unreported) if unreported else usage

    def _as_charged(self, usage: Usage) -> Usage:
        """What of a usage these rates are for, with what no report has."""
        asked = self.asked
        if asked.bound.more:
            usage = as_charged(usage, asked.rates, asked.bound.more)
        return self._with_unreported(usage)

    def _reckoned(self) -> Usage:
        return self._look()() if self.readable else self._with_unreported(self.ceiling)

    def _look(self) -> Callable[[], Usage]:
        """Take what has been seen so far, to be counted in a thread."""
        if self._count is None:
            self._count = self.asked.counter()
        count, ceiling, meter = self._count, self.ceiling, self.meter
        usage, texts, fees, drawn = None, (), (), 0
        if meter is not None:
            usage, texts, fees = meter.usage, meter.relayed_texts(), tuple(meter.fees.items())
            drawn = meter.drawn
        fees += self.asked.bound.unreported
        asked = self.asked

        def seen() -> Usage:
            used = with_fees(reckoned(usage, texts, count, ceiling), fees)
            if drawn:
                draws = asked.operation.family.draws
                used = with_drawn(used, drawn, asked.bound, ceiling, draws=draws)
            return as_charged(used, asked.rates, asked.bound.more) if asked.bound.more else used

        return seen
