"""Waiting for a hold: requests that would fit without the open holds of their account, in order.

The order is that of the table `waiters`, over all processes: `PLACE` leaves enough for the waiters
in front. This file has the waiters of this process. The first waiter of an account tries again when
this process releases credits of the account, and when a poll of the books, every POLL_S, finds an
attempt promising: that is how a hold that ended elsewhere, or a top-up, is noticed. A waiter leaves
as soon as a poll finds that its key was revoked or has expired, or that its user was disabled.

A waiter that a limit keeps, and not the balance, keeps no credits from those behind it. It stands
in a line of those with the same limits, which others of the account pass.

A waiter holds no connection. When it leaves, for any reason, its row is deleted. Heartbeats keep
the rows of living processes alive; the row of a dead process counts for at most ALIVE_S.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.books.limits import refusal_of
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Claim, Hold

Attempt: TypeAlias = "Callable[[int], Awaitable[Hold | None]]"

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1
HEARTBEAT_S: Final = 1.0
ALIVE_S: Final = 5.0
"""How long a waiter counts as alive after a heartbeat."""
SILENCE_S: Final = 2.0
"""How long the database may be unavailable before all waiters try, to find that out."""
WAITERS_MAX: Final = 1000
"""Of one account in one process."""
_POLLED_OF_A_LINE: Final = 8
"""Waiters further back are woken by the one in front of them."""


@dataclass(slots=True, eq=False)
class _Waiter:
    caller: Caller
    position: int
    claim: Claim
    by_limit: bool
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def account_id(self) -> int:
        return self.caller.account_id

    @property
    def line(self) -> tuple[str, ...] | None:
        """Among whom it waits for its turn; None: all that wait for the balance."""
        policy = self.caller.policy
        return policy.subjects if self.by_limit and policy is not None else None


_Lines: TypeAlias = "dict[tuple[str, ...] | None, list[_Waiter]]"
"""The waiters of one account, each line in order."""


class Waiters:
    """The waiting requests of this process, first come, first served."""

    def __init__(self, pool: Pool, book: Book) -> None:
        self._pool = pool
        self._book = book
        self._by_account: dict[int, _Lines] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None
        book.on_release = self._wake

    def __len__(self) -> int:
        return sum(map(_number, self._by_account.values()))

    async def place(  # noqa: PLR0913 - how it waits, by name
        self,
        caller: Caller,
        claim: Claim,
        attempt: Attempt,
        wait_s: float,
        *,
        by_limit: bool = False,
        claimed: Callable[[], Claim] | None = None,
    ) -> Hold | None:
        """Place a hold as soon as it is this request's turn and it fits.

        Args:
            caller: whose account has the open holds that are waited for.
            claim: how much.
            attempt: places the hold if it fits, given the position among the waiters.
            wait_s: the longest wait, in seconds.
            by_limit: it waits for a limit and not for the balance, so that nobody of the account
                leaves credits for it. Those of one key stand in one line.
            claimed: what an attempt claims by now, where attempts lower it; None: `claim`.

        Returns:
            The hold; None if it can never fit, if a limit refuses it that does not only wait for
            open holds, if the time is up, if too many wait already, or if the key has ended.

        """
        if _number(self._by_account.get(caller.account_id, {})) >= WAITERS_MAX:
            return None
        deadline = asyncio.get_running_loop().time() + wait_s
        waiter = await self._enter(caller, claim, by_limit=by_limit)
        try:
            # More may have come while the row was inserted.
            lines = self._by_account[waiter.account_id]
            if _number(lines) > WAITERS_MAX:
                return None
            if lines[waiter.line][0] is waiter:
                waiter.woken.set()
            timely = True
            while timely:
                timely = await _is_woken(waiter, deadline)
                hold = await attempt(waiter.position)
                if hold is not None:
                    return hold
                if not await self._may_fit_later(caller, claimed() if claimed else claim):
                    return None
            return None
        finally:
            self._leave(waiter)

    async def close(self) -> None:
        """Stop polling, and delete the rows of waiters that have left."""
        if self._polling is not None:
            _ = self._polling.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _may_fit_later(self, caller: Caller, claim: Claim) -> bool:
        """Tell whether open holds keep a claim from fitting, and nothing else."""
        funds = await self._book.funds_of(caller)
        if funds is None or funds.limit < claim.minimum:
            return False
        if caller.policy is None:
            return True
        states = await self._book.limits_of(caller)
        refusal = refusal_of(states, min(claim.wanted, funds.limit), claim.tokens)
        return refusal is None or refusal.is_held

    async def _enter(self, caller: Caller, claim: Claim, *, by_limit: bool) -> _Waiter:
        kept = 0 if by_limit else claim.wanted
        entered = cast(
            "int",
            await self._pool.fetchval(statements.ENTER, caller.account_id, kept, ALIVE_S),
        )
        waiter = _Waiter(caller, entered, claim, by_limit)
        lines = self._by_account.setdefault(caller.account_id, {})
        in_order = lines.setdefault(waiter.line, [])
        insort(in_order, waiter, key=lambda other: other.position)
        if self._polling is None:
            self._polling = self._start(self._poll())
        return waiter

    def _leave(self, waiter: _Waiter) -> None:
        lines = self._by_account[waiter.account_id]
        lines[waiter.line].remove(waiter)
        if not lines[waiter.line]:
            del lines[waiter.line]
        if not lines:
            del self._by_account[waiter.account_id]
        # In a task of its own, because the request may have been cancelled.
        _ = self._start(self._delete_row(waiter))

    async def _delete_row(self, waiter: _Waiter) -> None:
        try:
            await self._pool.execute(statements.LEAVE, waiter.account_id, waiter.position)
        except UNAVAILABLE as error:
            logger.debug("the row of a waiter stays until it lapses: %s", type(error).__name__)
        finally:
            self._wake(waiter.account_id)

    def _wake(self, account_id: int) -> None:
        for in_order in self._by_account.get(account_id, {}).values():
            in_order[0].woken.set()

    async def _poll(self) -> None:
        clock = asyncio.get_running_loop().time
        heartbeat_at = 0.0
        responded_at = clock()
        while self._by_account:
            try:
                if clock() >= heartbeat_at:
                    await self._send_heartbeat()
                    heartbeat_at = clock() + HEARTBEAT_S
                await self._wake_promising()
                await self._wake_ended()
                responded_at = clock()
            except UNAVAILABLE as error:
                logger.debug("the poll of waiters failed: %s", type(error).__name__)
                if clock() - responded_at >= SILENCE_S:
                    self._wake_all()
            except Exception:
                logger.exception("the poll of waiters failed")
            await asyncio.sleep(POLL_S)
        self._polling = None

    def _wake_all(self) -> None:
        """Let all waiters find out that the database is unavailable."""
        for waiter in self._all():
            waiter.woken.set()

    def _all(self) -> list[_Waiter]:
        return [waiter for in_order in self._all_lines() for waiter in in_order]

    def _all_lines(self) -> list[list[_Waiter]]:
        return [in_order for lines in self._by_account.values() for in_order in lines.values()]

    async def _send_heartbeat(self) -> None:
        waiters = self._all()
        await self._pool.execute(
            statements.RENEW_WAITERS,
            [waiter.account_id for waiter in waiters],
            [waiter.position for waiter in waiters],
            ALIVE_S,
        )

    async def _wake_promising(self) -> None:
        waiters = {
            waiter.position: waiter
            for in_order in self._all_lines()
            for waiter in in_order[:_POLLED_OF_A_LINE]
        }
        limited = [waiter for waiter in waiters.values() if waiter.caller.policy is not None]
        plain = [waiter for waiter in waiters.values() if waiter.caller.policy is None]
        for waiting, statement, more in (
            (plain, statements.PROMISING, []),
            (limited, statements.PROMISING_LIMITED, _limit_columns(limited)),
        ):
            if not waiting:
                continue
            rows = await self._pool.fetch(
                statement,
                [waiter.account_id for waiter in waiting],
                [waiter.position for waiter in waiting],
                [waiter.claim.wanted for waiter in waiting],
                [waiter.claim.minimum for waiter in waiting],
                *more,
            )
            for row in rows:
                waiters[cast("int", row[0])].woken.set()

    async def _wake_ended(self) -> None:
        """Let waiters whose key has ended find that out, however far back they are."""
        secrets = {waiter.caller.secret_sha256 for waiter in self._all()}
        rows = await self._pool.fetch(statements.ENDED_KEYS, list(secrets))
        ended = {cast("bytes", row[0]) for row in rows}
        if ended:
            for waiter in self._all():
                if waiter.caller.secret_sha256 in ended:
                    waiter.woken.set()

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _is_woken(waiter: _Waiter, deadline: float) -> bool:
    """Wait until woken; False if the time is up, which makes the next attempt the last one."""
    try:
        async with asyncio.timeout_at(deadline):
            _ = await waiter.woken.wait()
    except TimeoutError:
        return False
    waiter.woken.clear()
    return True


def _limit_columns(waiters: Iterable[_Waiter]) -> list[list[object]]:
    policies = [(waiter.claim.tokens, waiter.caller.policy) for waiter in waiters]
    return [
        [tokens for tokens, _ in policies],
        [" ".join(policy.subjects) for _, policy in policies if policy is not None],
    ]


def _number(lines: _Lines) -> int:
    return sum(map(len, lines.values()))
