"""Contention on one account: every request that it can pay for succeeds, and no other.

    .venv/bin/python -m benchmarks.contention [--responses 1000] [--streams 128]

Two replicas with two workers each on one Postgres. First many requests fired together at a balance
that covers a quarter of them; then streams without a pause, which use less than their holds
reserve, until the balance is spent; then the same with keys of a team until its limit is reached,
while credits come, end and move to a member and back. Balance and books are watched all the while.
Exits with 1 when a credit too much was spent, when something affordable was refused, or when books
are broken.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import orjson
from sqlalchemy.exc import DBAPIError

from benchmarks.admissions import admitted_too_many
from benchmarks.crews import Bounds, create_crew
from benchmarks.ring import OUTPUT_TOKENS, PROMPT_TOKENS, Ring, open_ring
from benchmarks.watch import Watch, until_no_hold_is_open
from tests.support.books import Holder, create_holder
from tokenbalance.books.grants.issuing import EndInvalid, NewGrant, issue
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.transfers import transfer
from tokenbalance.database.connections import open_sessions
from tokenbalance.model import CLI
from tokenbalance.people.keys import create_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.crews import Crew
    from tokenbalance.database.connections import Sessions

OUTPUT_LIMIT: Final = 120
"""What the clients allow; so a hold is three times what is used."""
SAMPLE_S: Final = 0.02
END_S: Final = 30.0
_FUNDS: Final = re.compile(r"needs (?:more than )?(\d+) credit.*balance (-?\d+),")


@dataclass(slots=True)
class Tally:
    """What the clients received, and what happened to the account."""

    statuses: Counter[int] = field(default_factory=Counter)
    falsely_refused: list[str] = field(default_factory=list)
    """Refusals of what the balance would have paid for."""
    lowest: int | None = None
    samples: int = 0

    def add(self, status: int, body: bytes) -> None:
        """Count one response."""
        self.statuses[status] += 1
        if status in {402, 429}:
            error = cast("dict[str, str]", orjson.loads(body)["error"])
            message = error["message"]
            if error["code"] == "rate_limit_exceeded":
                return
            found = _FUNDS.search(message)
            if found is None or int(found[1]) <= int(found[2]):
                self.falsely_refused.append(message)


async def _ask(ring: Ring, holder: Holder, number: int, limit: int, tally: Tally) -> int:
    document = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello there"}],
        "max_tokens": limit,
        "stream": True,
    }
    url = ring.replicas[number % len(ring.replicas)].url + "/v1/chat/completions"
    async with ring.session.post(url, json=document, headers=holder.headers) as response:
        tally.add(response.status, await response.read())
        return response.status


async def _sample(ring: Ring, holder: Holder, tally: Tally) -> None:
    while True:
        balance = cast(
            "int",
            await ring.pool.fetchval(
                "SELECT balance FROM accounts WHERE id = $1", holder.account_id
            ),
        )
        tally.samples += 1
        tally.lowest = balance if tally.lowest is None else min(tally.lowest, balance)
        await asyncio.sleep(SAMPLE_S)


@asynccontextmanager
async def _watched(ring: Ring, holder: Holder, tally: Tally) -> AsyncGenerator[Watch]:
    watch = Watch(ring.dsn)
    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(_sample(ring, holder, tally))]
    try:
        yield watch
    finally:
        for task in tasks:
            _ = task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _all_at_once(ring: Ring, requests: int, affordable: int) -> list[str]:
    """Fire together what the balance covers a part of; each uses all of its hold."""
    charge = PROMPT_TOKENS + OUTPUT_TOKENS
    holder = await create_holder(ring.pool, affordable * charge)
    tally = Tally()
    async with _watched(ring, holder, tally) as watch:
        _ = await asyncio.gather(
            *(_ask(ring, holder, number, OUTPUT_TOKENS, tally) for number in range(requests))
        )
        breaches = await _verdict(ring, holder, tally, watch)
    print(f"{requests} at once, a balance for {affordable}: succeeded {tally.statuses[200]}")
    if tally.statuses[200] != affordable:
        breaches.append(f"{tally.statuses[200]} succeeded, {affordable} affordable")
    return breaches


async def _until_spent(ring: Ring, streams: int, responses: int) -> list[str]:
    """Stream without a pause until nothing more is to be had."""
    granted = responses * (PROMPT_TOKENS + OUTPUT_TOKENS)
    holder = await create_holder(ring.pool, granted)
    tally = Tally()

    async def stream(number: int) -> None:
        while await _ask(ring, holder, number, OUTPUT_LIMIT, tally) == 200:  # noqa: PLR2004 - OK
            pass

    began = asyncio.get_running_loop().time()
    async with _watched(ring, holder, tally) as watch:
        _ = await asyncio.gather(*(stream(number) for number in range(streams)))
        took_s = asyncio.get_running_loop().time() - began
        breaches = await _verdict(ring, holder, tally, watch)
    left = cast(
        "int",
        await ring.pool.fetchval("SELECT balance FROM accounts WHERE id = $1", holder.account_id),
    )
    used = 100 * (granted - left) / granted
    print(
        f"{streams} streams, a balance for {responses}: succeeded {tally.statuses[200]} in"
        f" {took_s:.0f} s, {used:.2f} % of the balance was spent, overspent {max(-left, 0)}"
    )
    if used < 99:  # noqa: PLR2004 - what is promised
        breaches.append(f"{left} of {granted} credits were left over")
    return breaches


async def _of_a_team(ring: Ring, streams: int, responses: int) -> list[str]:
    """Stream with a member's key and a service key until what the team may use a day is used."""
    limit = responses * (PROMPT_TOKENS + OUTPUT_TOKENS)
    bounds = Bounds({"account": {"credits_per_day": limit}, "member": {"parallel_requests": 48}})
    tally, moved = Tally(), Counter[str]()
    async with open_sessions(ring.dsn) as sessions:
        crew = await create_crew(ring.pool, sessions, bounds)
        async with sessions.begin() as session:
            key, secret = await create_key(session, crew.team_id, actor=CLI)
        keys = [crew.holder, Holder(0, crew.team_id, key.id, secret)]

        async def stream(number: int) -> None:
            key = keys[number // 2 % len(keys)]
            while await _ask(ring, key, number, OUTPUT_LIMIT, tally) == 200:  # noqa: PLR2004 - OK
                pass

        async with _watched(ring, crew.holder, tally) as watch:
            moving = asyncio.create_task(_move_credits(sessions, crew, moved))
            _ = await asyncio.gather(*(stream(number) for number in range(streams)))
            _ = moving.cancel()
            with suppress(asyncio.CancelledError):
                await moving
            breaches = await _verdict(ring, crew.holder, tally, watch)
        breaches += await admitted_too_many(ring.pool)
    used = cast(
        "int",
        await ring.pool.fetchval(
            "SELECT used FROM limits WHERE account_id = $1 AND name = 'credits_per_day'",
            crew.team_id,
        ),
    )
    print(
        f"{streams} streams of a team, a limit for {responses}: succeeded {tally.statuses[200]},"
        f" used {used} of {limit}, meanwhile {dict(moved)}"
    )
    if not limit * 0.99 <= used <= limit:
        breaches.append(f"{used} of {limit} credits a day were used")
    return breaches


async def _move_credits(sessions: Sessions, crew: Crew, moved: Counter[str]) -> None:
    """Let credits come, end, and move between the team and its member, until cancelled."""
    pair = crew.team_id, crew.own_account_id
    while True:
        new = NewGrant(amount=50, expires_at=datetime.now(UTC) + timedelta(seconds=1))
        try:
            async with sessions.begin() as session:
                _ = await issue(session, crew.team_id, new, Cause(CLI))
            moved["grants with an end"] += 1
            for sender, receiver in (pair, pair[::-1]):
                async with sessions.begin() as session:
                    _ = await transfer(session, sender, receiver, 30, Cause(CLI))
                moved["transfers"] += 1
        except EndInvalid:
            moved["grants that ended before the account was locked"] += 1
        except DBAPIError as error:
            # An API request would be asked to try again.
            moved[str(error.orig)] += 1
        await asyncio.sleep(SAMPLE_S)


async def _verdict(ring: Ring, holder: Holder, tally: Tally, watch: Watch) -> list[str]:
    open_holds, _ = await until_no_hold_is_open(ring.dsn, END_S)
    await watch.look(0)
    overrun = await ring.pool.fetchval(
        "SELECT coalesce(sum(overrun), 0)::bigint FROM ledger WHERE account_id = $1",
        holder.account_id,
    )
    print(
        f"statuses {dict(tally.statuses)}, lowest balance {tally.lowest} ({tally.samples} samples),"
        f" audits {watch.audits}, violations {len(watch.violations)}, overrun {overrun}"
    )
    breaches = list(watch.violations) + tally.falsely_refused
    breaches += [
        f"{number} received {status}"
        for status, number in tally.statuses.items()
        if status not in {200, 402, 429}
    ]
    if open_holds or overrun or tally.lowest is None or tally.lowest < 0:
        breaches.append(f"open holds {open_holds}, overrun {overrun}, lowest {tally.lowest}")
    return breaches


async def _run(streams: int, responses: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="contention-", ignore_cleanup_errors=True) as folder:
        async with open_ring(Path(folder)) as ring:
            breaches = await _all_at_once(ring, requests=400, affordable=100)
            breaches += await _until_spent(ring, streams, responses)
            breaches += await _of_a_team(ring, streams, responses)
    return breaches


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Contention on one account.")
    _ = parser.add_argument("--responses", type=int, default=1000)
    _ = parser.add_argument("--streams", type=int, default=128)
    given = parser.parse_args()
    breaches = asyncio.run(_run(cast("int", given.streams), cast("int", given.responses)))
    for breach in breaches[:20]:
        print(f"BREACH: {breach}")
    print(f"breaches: {len(breaches)}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
