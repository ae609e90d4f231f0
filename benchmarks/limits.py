"""Limits under contention: as many requests are admitted as a limit allows, over all replicas.

    .venv/bin/python -m benchmarks.limits [--requests 400] [--for 100]

Two replicas with two workers each on one Postgres. Many requests at once against each counted limit
in turn, then against six that bind one key together, each of them in turn the tightest; then a
replica is killed whose requests count as open. Exits with 1 when one too many or too few was
admitted, when a refusal does not name the limit that binds, when something was taken of a limit by
a request that another one refused, or when the books are broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import aiohttp

from benchmarks.crews import BUDGET, END_USER, Bounds, Crew, create_crew
from benchmarks.ring import OUTPUT_TOKENS, PROMPT_TOKENS, Ring, open_ring, respond
from benchmarks.verdict import say
from benchmarks.watch import until_no_hold_is_open
from tests.support.upstream import Gate
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import open_sessions
from tokenbalance.model.limits import COUNTED, MINUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.upstream import Received, Response
    from tokenbalance.database.connections import Sessions

CHARGE: Final = PROMPT_TOKENS + OUTPUT_TOKENS
"""Of each request, in tokens and credits; its hold is as large."""
LEASE_S: Final = 6
SWEEP_S: Final = 2
HOLD_WAIT_S: Final = 3
LATE_S: Final = 2.0
"""For the sweep itself, and for looking."""
WIDE: Final = 1.6
"""How much wider the other limits are than the tightest."""
NESTED: Final = (
    ("key", "tokens_per_day"),
    ("member", "credits_per_day"),
    ("project", "credits_per_week"),
    ("account", "credits_per_month"),
    ("end", "credits_total"),
    (BUDGET, "quarter"),
)
_OK: Final = 200
_END_S: Final = 30.0
_POLL_S: Final = 0.05
_SETTINGS: Final = {
    "TOKENBALANCE_LEASE_S": str(LEASE_S),
    "TOKENBALANCE_SWEEP_S": str(SWEEP_S),
    "TOKENBALANCE_HOLD_WAIT_S": str(HOLD_WAIT_S),
}


@dataclass(frozen=True, slots=True)
class Round:
    """Many requests at once."""

    name: str
    bounds: Bounds
    requests: int
    admitted: int
    """How many the tightest limit allows at one moment."""
    tightest: str
    """How the name of the limit begins that refuses the others."""
    gives_back: bool = False
    """It counts what is open: no response may end before the last request was refused."""
    refills: bool = False
    """It is a rate."""


@dataclass(slots=True)
class Tally:
    """What the clients received."""

    statuses: Counter[int] = field(default_factory=Counter)
    refused_by: Counter[str] = field(default_factory=Counter)


def rounds(requests: int, admitted: int) -> list[Round]:
    """List what is tried."""
    found = [_of_one_limit(name, requests, admitted) for name in COUNTED]
    found += [_of_nested(tight, requests, admitted) for tight, _ in NESTED]
    return found


def _of_one_limit(name: str, requests: int, admitted: int) -> Round:
    unit, period = COUNTED[name]
    bounds = Bounds({"key": {name: _amount(unit, admitted)}})
    return Round(
        name,
        bounds,
        requests,
        admitted,
        f"key.{name}",
        gives_back=unit == "holds",
        refills=period == MINUTE,
    )


def _of_nested(tight: str, requests: int, admitted: int) -> Round:
    wide = round(admitted * WIDE)
    limits = {
        subject: {name: CHARGE * (admitted if subject == tight else wide)}
        for subject, name in NESTED
    }
    by = "project.budget" if tight == BUDGET else f"{tight}.{dict(NESTED)[tight]}"
    return Round(f"six, tightest: {tight}", Bounds(limits), requests, admitted, by)


def _amount(unit: str, requests: int) -> int:
    return requests * (CHARGE if unit in {"tokens", "credits"} else 1)


async def _ask(ring: Ring, crew: Crew, replica: int, tally: Tally) -> None:
    document = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello there"}],
        "max_tokens": OUTPUT_TOKENS,
        "user": END_USER,
    }
    url = ring.replicas[replica].url + "/v1/chat/completions"
    try:
        async with ring.session.post(url, json=document, headers=crew.holder.headers) as response:
            _ = await response.read()
            tally.statuses[response.status] += 1
            if response.status != _OK:
                tally.refused_by[response.headers.get("x-tokenbalance-limit", "-")] += 1
    except (aiohttp.ClientError, OSError):
        tally.statuses[0] += 1


async def _fire(ring: Ring, sessions: Sessions, round_: Round) -> list[str]:
    """Send them all, and compare what was admitted with what the limit allows."""
    crew, tally, gate = await create_crew(ring.pool, sessions, round_.bounds), Tally(), Gate()
    gated = _gated(ring, gate)
    if not round_.gives_back:
        gate.open()
    clock = asyncio.get_running_loop().time
    began = clock()
    asked = [
        asyncio.create_task(_ask(ring, crew, number % len(ring.replicas), tally))
        for number in range(round_.requests)
    ]
    await _until(lambda: sum(tally.statuses.values()) >= round_.requests - round_.admitted)
    gate.open()
    _ = await asyncio.gather(*asked)
    took_s = clock() - began
    _ = await until_no_hold_is_open(ring.dsn, _END_S)
    breaches = await _verdict(ring, crew, round_, tally)
    breaches += _counted(round_, tally, len(gated))
    say(
        f"{round_.name:26} {round_.requests} at once, a limit for {round_.admitted}: succeeded"
        f" {tally.statuses[_OK]}, refused {dict(tally.refused_by)}, {took_s:.1f} s"
    )
    return [f"{round_.name}: {breach}" for breach in breaches]


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it never was.

    """
    async with asyncio.timeout(_END_S * 2):
        while True:
            if is_so():
                return
            await asyncio.sleep(_POLL_S)


def _gated(ring: Ring, gate: Gate) -> list[bytes]:
    """Let the upstream respond once the gate is open; returns the list that requests go to."""
    seen: list[bytes] = []

    def gated(request: Received) -> Response:
        seen.append(request.target)
        return replace(respond(request), head_gate=gate)

    ring.upstream.always(gated)
    return seen


def _counted(round_: Round, tally: Tally, sent: int) -> list[str]:
    breaches = [
        f"{number} were refused by {name}"
        for name, number in tally.refused_by.items()
        if not name.startswith(round_.tightest)
    ]
    if sent != tally.statuses[_OK]:
        breaches.append(f"{sent} requests reached the upstream, {tally.statuses[_OK]} succeeded")
    return breaches


async def _verdict(ring: Ring, crew: Crew, round_: Round, tally: Tally) -> list[str]:
    row = await ring.pool.fetchrow(
        "SELECT count(*) FILTER (WHERE kind = 'charge') AS charges, coalesce(sum(total), 0)::bigint"
        " AS total, coalesce(extract(epoch FROM max(started_at) - min(started_at)), 0)::float8"
        " AS lasted_s FROM ledger WHERE account_id = $1 AND state IS NOT NULL",
        crew.team_id,
    )
    assert row is not None
    charges, total, lasted_s = cast("tuple[int, int, float]", tuple(row))
    breaches = (await audit(ring.pool)).violations
    most = round_.admitted * CHARGE
    if round_.refills:
        # As much as flowed back while they came, and one that began to be counted before.
        most = int(most * (1 + lasted_s / 60)) + CHARGE
    if charges != tally.statuses[_OK]:
        breaches.append(f"{charges} charges, {tally.statuses[_OK]} succeeded")
    if not round_.admitted * CHARGE <= total <= most:
        breaches.append(f"{total} tokens were used, {round_.admitted * CHARGE} to {most} allowed")
    breaches += await _taken(ring, crew, round_)
    return breaches


async def _taken(ring: Ring, crew: Crew, round_: Round) -> list[str]:
    """Find limits of which something else was taken than the admitted requests used."""
    rows = await ring.pool.fetch(
        "SELECT subject, name, unit, period, used, reserved FROM limits WHERE account_id = $1",
        crew.team_id,
    )
    taken = cast("list[tuple[str, str, str, str, int, int]]", rows)
    return [
        f"{subject}.{name}: {used} are used, {reserved} reserved"
        for subject, name, unit, period, used, reserved in taken
        if reserved
        or (period != MINUTE and unit != "holds" and used != _amount(unit, round_.admitted))
    ]


async def _kill(ring: Ring, sessions: Sessions) -> list[str]:
    """Kill a replica in the middle of its requests: what they had taken comes back."""
    both = 60, 20
    bounds = Bounds(
        {"key": {"parallel_requests": sum(both)}, "account": {"credits_per_day": 10**6}}
    )
    crew, tally, gate = await create_crew(ring.pool, sessions, bounds), Tally(), Gate()
    gated = _gated(ring, gate)
    asked = [
        asyncio.create_task(_ask(ring, crew, replica, tally))
        for replica, number in enumerate(both)
        for _ in range(number)
    ]
    await _until(lambda: len(gated) == sum(both))
    refused = Tally()
    await _ask(ring, crew, 1, refused)
    clock = asyncio.get_running_loop().time
    killed_at = clock()
    await ring.replicas[0].kill()
    left = await _open(ring, crew)
    while left > both[1] and clock() - killed_at < _END_S:
        await asyncio.sleep(0.1)
        left = await _open(ring, crew)
    took_s = clock() - killed_at
    again = asyncio.create_task(_ask(ring, crew, 1, refused))
    await _until(lambda: len(gated) == sum(both) + 1)
    gate.open()
    _ = await asyncio.gather(*asked, again)
    open_holds, _ = await until_no_hold_is_open(ring.dsn, _END_S)
    breaches = (await audit(ring.pool)).violations
    at_the_end = await _open(ring, crew)
    say(
        f"kill -9 of a replica with {both[0]} of {sum(both)} open: {left} open after {took_s:.1f} s"
        f" (lease {LEASE_S} s, sweep {SWEEP_S} s), {at_the_end} at the end;"
        f" others {dict(tally.statuses)}, one more before and after: {dict(refused.statuses)}"
    )
    if left != both[1] or took_s > LEASE_S + SWEEP_S + LATE_S:
        breaches.append(f"{left} are open {took_s:.1f} s after the kill, {both[1]} live")
    if at_the_end or open_holds:
        breaches.append(f"{at_the_end} count as open at the end, {open_holds} holds are")
    if tally.statuses[_OK] != both[1] or refused.statuses != Counter({429: 1, _OK: 1}):
        breaches.append(f"others received {tally.statuses}, one more {refused.statuses}")
    return [f"kill: {breach}" for breach in breaches]


async def _open(ring: Ring, crew: Crew) -> int:
    return cast(
        "int",
        await ring.pool.fetchval(
            "SELECT reserved FROM limits WHERE account_id = $1 AND name = 'parallel_requests'",
            crew.team_id,
        ),
    )


async def _run(requests: int, admitted: int) -> list[str]:
    breaches: list[str] = []
    with tempfile.TemporaryDirectory(prefix="limits-", ignore_cleanup_errors=True) as folder:
        async with open_ring(Path(folder), _SETTINGS) as ring, open_sessions(ring.dsn) as sessions:
            for round_ in rounds(requests, admitted):
                breaches += await _fire(ring, sessions, round_)
            breaches += await _kill(ring, sessions)
    return breaches


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Limits under contention.")
    _ = parser.add_argument("--requests", type=int, default=400)
    _ = parser.add_argument("--for", type=int, default=100, dest="admitted")
    given = parser.parse_args()
    breaches = asyncio.run(_run(cast("int", given.requests), cast("int", given.admitted)))
    for breach in breaches[:20]:
        say(f"BREACH: {breach}")
    say(f"breaches: {len(breaches)}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
