"""Whose turn it is to sign in, when many want to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.people.conftest import PASSWORD
from tokenbalance.people import sign_in as signing_in
from tokenbalance.people.passwords import WAITING_MAX, Busy, Verdict
from tokenbalance.people.sign_in import (
    API_SIGN_IN,
    BROWSER_SIGN_IN,
    Attempt,
    SignInError,
    Way,
    sign_in,
)
from tokenbalance.people.sign_up import Stranger, Wanted, sign_up
from tokenbalance.people.turns import Line, turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tokenbalance.database.connections import Sessions
    from tokenbalance.people.rows import UserRow

    Create = Callable[..., Awaitable[UserRow]]

ADA = Attempt("ada@example.com", PASSWORD, "192.0.2.1")
FLOOD = "203.0.113.9"
AT_ONCE = 2
OF_A_NETWORK = 8
STRANGERS = Line.STRANGERS.value
MADE_UP = "x" * 43


class Arrivals:
    """Those who arrive; each keeps the turn until it is told to go."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.refused: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._go = asyncio.Semaphore(0)

    async def arrive(self, *addresses: str, line: Line = Line.STRANGERS) -> None:
        """Let them arrive, in this order."""
        self.tasks += [asyncio.create_task(self._take(each, line)) for each in addresses]
        await self._settle()

    async def go(self, count: int = 1) -> None:
        """End so many turns."""
        for _ in range(count):
            self._go.release()
            await self._settle()

    async def _take(self, address: str, line: Line) -> None:
        try:
            async with turn(address, line):
                self.served.append(address)
                await self._go.acquire()
        except Busy:
            self.refused.append(address)

    async def _settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)


@pytest.fixture
async def arrivals() -> AsyncGenerator[Arrivals]:
    """Nobody yet; in the end all have left, and the next one is served at once."""
    arrivals = Arrivals()
    yield arrivals
    await arrivals.go(len(arrivals.tasks))
    async with asyncio.timeout(30):
        _ = await asyncio.gather(*arrivals.tasks, return_exceptions=True)
        for _ in range(AT_ONCE + 1):
            async with turn(FLOOD):
                pass


def addresses(count: int) -> list[str]:
    return [f"198.51.{number // 250}.{number % 250}" for number in range(count)]


async def test_one_network_has_few_places_and_delays_others_by_the_turns_under_way(
    arrivals: Arrivals,
) -> None:
    await arrivals.arrive(*[FLOOD] * 80)
    assert len(arrivals.refused) == 80 - AT_ONCE - OF_A_NETWORK
    await arrivals.arrive("192.0.2.1")
    assert arrivals.served == [FLOOD] * AT_ONCE
    await arrivals.go()
    assert arrivals.served[AT_ONCE:] == ["192.0.2.1"]


async def test_addresses_of_one_ipv6_network_share_its_places(arrivals: Arrivals) -> None:
    await arrivals.arrive(*(f"2001:db8::{number:x}" for number in range(20)))
    assert len(arrivals.refused) == 20 - AT_ONCE - OF_A_NETWORK


async def test_networks_take_turns(arrivals: Arrivals) -> None:
    await arrivals.arrive("a", "a")  # all that is no address is one
    await arrivals.arrive("::1", "::1", "::1", "::2:0:0:0:0", "::2:0:0:0:0", "192.0.2.1")
    await arrivals.go(6)
    assert arrivals.served[2:] == ["::1", "::2:0:0:0:0", "192.0.2.1", "::1", "::2:0:0:0:0", "::1"]


async def test_a_full_line_has_room_for_a_network_that_has_fewer_places(
    arrivals: Arrivals,
) -> None:
    flood = addresses(STRANGERS // OF_A_NETWORK)
    await arrivals.arrive(FLOOD, FLOOD, *flood * OF_A_NETWORK)
    assert not arrivals.refused
    await arrivals.arrive("192.0.2.1")
    # Its latest place was taken away.
    assert arrivals.refused == [flood[0]]
    await arrivals.arrive(*["192.0.2.1"] * 8)
    assert 0 < arrivals.refused.count("192.0.2.1") < 8
    await arrivals.go(STRANGERS)
    assert len(arrivals.served) == AT_ONCE + STRANGERS


async def test_all_who_wait_are_few(arrivals: Arrivals) -> None:
    flood = addresses(100)
    await arrivals.arrive(*flood)
    await arrivals.arrive(*flood, line=Line.BROWSERS)
    assert len(flood) * 2 - len(arrivals.refused) == AT_ONCE + WAITING_MAX


async def test_strangers_take_no_place_from_browsers_and_lines_alternate(
    arrivals: Arrivals,
) -> None:
    await arrivals.arrive(*addresses(100))
    await arrivals.arrive("192.0.2.1", "192.0.2.2", line=Line.BROWSERS)
    await arrivals.go(3)
    assert [each for each in arrivals.served[AT_ONCE:] if each.startswith("192")] == [
        "192.0.2.1",
        "192.0.2.2",
    ]
    assert arrivals.served[AT_ONCE + 1] == "198.51.0.2"


async def test_who_leaves_makes_room_and_loses_no_turn(arrivals: Arrivals) -> None:
    await arrivals.arrive(FLOOD, FLOOD, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    arrivals.tasks[2].cancel()
    # The turn of the next one comes while it is cancelled.
    arrivals._go.release()
    await asyncio.sleep(0)
    arrivals.tasks[3].cancel()
    await arrivals.arrive()
    assert arrivals.served == [FLOOD, FLOOD, "192.0.2.3"]


class Slow:
    """Verifying, which takes until it may go on; right passwords are right at once."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        """The passwords of those who had a turn, in that order."""
        self.begun: list[str] = []
        self.go_on = asyncio.Event()
        self._find = signing_in._find

    async def find(self, sessions: Sessions, attempt: Attempt) -> signing_in._Found:
        self.turns.append(attempt.password)
        return await self._find(sessions, attempt)

    async def verify(self, password: str, _stored: str | None) -> Verdict:
        self.begun.append(password)
        await self.go_on.wait()
        return Verdict(ok=password == PASSWORD)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(signing_in, "verify_password", slow.verify)
    # What a turn begins with. Whose statements take how long says nothing of whose turn it was.
    monkeypatch.setattr(signing_in, "_find", slow.find)
    return slow


async def flood(sessions: Sessions, slow: Slow, *attempts: Attempt) -> list[asyncio.Task[None]]:
    """Let all arrive, until two are being verified."""

    async def offer(attempt: Attempt) -> None:
        with suppress(SignInError, Busy):
            await sign_in(sessions, attempt, API_SIGN_IN)

    tasks = [asyncio.create_task(offer(each)) for each in attempts]
    async with asyncio.timeout(30):
        while len(slow.begun) < AT_ONCE:
            await asyncio.sleep(0.01)
    return tasks


async def place_among(
    sessions: Sessions, slow: Slow, ada: Attempt, way: Way, *attempts: Attempt
) -> int:
    """Sign in after all of these; returns how many turns others had before."""
    tasks = await flood(sessions, slow, *attempts)
    signing = asyncio.create_task(sign_in(sessions, ada, way))
    await asyncio.sleep(0)
    slow.go_on.set()
    async with asyncio.timeout(30):
        _ = await signing
        _ = await asyncio.gather(*tasks)
    return len(slow.turns) - 1 - slow.turns[::-1].index(PASSWORD)


async def test_80_from_one_address_keep_no_other_address_out(
    sessions: Sessions, create: Create, cheap_hash: str, slow: Slow
) -> None:
    await create(ADA.email, password_hash=cheap_hash)
    guesses = [replace(ADA, password="a guess", address=FLOOD)] * 80
    # Two are under way, and a third may have been next.
    assert await place_among(sessions, slow, ADA, API_SIGN_IN, *guesses) <= AT_ONCE + 1


async def test_many_addresses_keep_no_known_browser_out(
    sessions: Sessions, create: Create, cheap_hash: str, slow: Slow
) -> None:
    await create(ADA.email, password_hash=cheap_hash)
    slow.go_on.set()
    browser = (await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser
    slow.go_on.clear()
    slow.begun.clear()
    slow.turns.clear()
    guesses = [replace(ADA, password="a guess", address=each) for each in addresses(100)]
    known = replace(ADA, browser=browser)
    assert await place_among(sessions, slow, known, BROWSER_SIGN_IN, *guesses) <= AT_ONCE + 1


async def test_a_made_up_browser_waits_again_with_the_strangers(
    sessions: Sessions, create: Create, cheap_hash: str, slow: Slow
) -> None:
    await create(ADA.email, password_hash=cheap_hash)
    guesses = [replace(ADA, password="a guess", address=each) for each in addresses(100)]
    tasks = await flood(sessions, slow, *guesses)
    made_up = [asyncio.create_task(sign_in(sessions, replace(ADA, browser=MADE_UP), API_SIGN_IN))]
    await asyncio.sleep(0)
    slow.go_on.set()
    async with asyncio.timeout(30):
        await asyncio.wait([*tasks, *made_up])
    assert PASSWORD not in slow.begun[: STRANGERS // 2]


async def test_who_signs_up_waits_with_those_who_sign_in(
    arrivals: Arrivals, sessions: Sessions
) -> None:
    await arrivals.arrive(*[FLOOD] * (AT_ONCE + OF_A_NETWORK))
    with pytest.raises(Busy):
        await sign_up(sessions, Wanted("eve@example.com", "", "correct horse"), Stranger(FLOOD))
