"""Every stage of an `Ending`, and every way out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import orjson
import pytest

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT
from tests.support.locks import accounts_locked, until_blocked
from tokenbalance.books.holds.journal import JournalUnavailable, PlacedWith, Slot, State
from tokenbalance.books.holds.leases import Leases
from tokenbalance.books.holds.settler import Settler
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import OPENAI, Charge, Claim, Usage
from tokenbalance.openai import find_operation
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.proxy.asked import read
from tokenbalance.proxy.ending import Ending, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Document

PATIENCE_S = 20.0
USED = Usage({"input": 9, "output": 3}, total=12)
CEILING = Usage({"input": 20, "output": 50}, total=70, estimated=True)
FREE_BODY: Document = {"model": "omni-moderation-latest", "input": "Hello"}
NO_ROW: list[str] = []
"""Of a request that was never placed."""


@dataclass
class Seen:
    """What a meter says."""

    usage: Usage | None = None
    failed: bool = False
    has_output: bool = True
    has_response: bool = True
    drawn: int = 0
    is_partial: bool = False
    error_code: str = "server_error"
    text: str = "one two three"
    fees: Mapping[str, int] = field(default_factory=dict[str, int])

    def relayed_texts(self) -> list[str]:
        return [self.text]


@dataclass
class Requests:
    """Begins requests of one holder, and brings them as far as a test wants them."""

    pool: Pool
    book: Book
    leases: Leases
    settler: Settler
    holder: Holder

    def begin(self, path: str = "/chat/completions", document: Document = CHAT) -> Ending:
        operation = find_operation("POST", path.encode())
        body = orjson.dumps(document)
        asked = read(self.holder.caller, operation, body, OPENAI, None)
        ending = Ending.begin(asked, "tb_1", self.leases, self.settler)
        ending.ceiling = CEILING
        return ending

    async def at(self, stage: Stage) -> Ending:
        """A request that has come to a stage."""
        if stage is Stage.FREE:
            return self.begin("/moderations", FREE_BODY)
        ending = self.begin()
        if stage is Stage.PLACING:
            await self.cancel_while_blocked(ending.place(self.book, Claim(70, 70)))
        if stage in {Stage.HELD, Stage.DISPATCHED}:
            assert await ending.place(self.book, Claim(70, 70))
        if stage is Stage.DISPATCHED:
            ending.dispatch()
        assert ending.stage is stage
        return ending

    async def cancel_while_blocked(self, step: Awaitable[object]) -> None:
        async with accounts_locked(self.pool):
            task = asyncio.ensure_future(step)
            await until_blocked(self.pool)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    async def until_over(self) -> list[str]:
        """How the holds have ended, after everything that goes on in the background."""
        assert await self.settler.drain(PATIENCE_S) == 0
        assert len(self.leases) == 0
        assert self.leases.journal.in_use == 0
        assert (await account_of(self.pool, self.holder)).held == 0
        return await hold_states(self.pool, self.holder)


@pytest.fixture
async def requests(pool: Pool, tmp_path: Path) -> AsyncIterator[Requests]:
    book = Book(pool)
    leases = Leases(tmp_path / "journal")
    await leases.open_journal(book)
    yield Requests(pool, book, leases, Settler(book, leases), await create_holder(pool, 1000))
    leases.close_journal()
    assert (await audit(pool)).violations == []


End: TypeAlias = Callable[[Ending], Awaitable[object]]
ENDS: dict[str, End] = {"settle": Ending.settle, "void": Ending.void, "cut": Ending.cut}
BEFORE_DISPATCH = (Stage.BEGUN, Stage.PLACING, Stage.HELD)


async def test_a_request_that_needs_no_hold_does_nothing_at_any_step(requests: Requests) -> None:
    ending = await requests.at(Stage.FREE)
    ending.dispatch()
    ending.note(USED)
    ending.meter = Seen(USED)
    assert await ending.settle(whole=True) is None
    await ending.void()
    await ending.cut()
    assert (ending.stage, ending.is_open, ending.charged) == (Stage.FREE, False, False)
    with pytest.raises(ValueError, match="no hold"):
        await ending.place(requests.book, Claim(1, 1))
    assert await requests.until_over() == []


async def test_a_hold_that_does_not_fit_leaves_the_request_where_it_was(requests: Requests) -> None:
    ending = await requests.at(Stage.BEGUN)
    assert await ending.place(requests.book, Claim(1001, 1001)) is None
    assert (ending.stage, ending.is_open) == (Stage.BEGUN, True)
    await ending.cut()
    assert await requests.until_over() == []


async def test_a_request_is_written_down_as_dispatched_and_can_be_looked_at(
    requests: Requests,
) -> None:
    ending = await requests.at(Stage.HELD)
    (lease,) = requests.leases._leases.values()
    assert (lease.slot.state, lease.look) == (State.PLACING, None)
    ending.dispatch()
    assert lease.slot.state is State.DISPATCHED
    assert lease.look
    assert lease.look()() == Usage({"input": 9}, total=9, estimated=True)
    ending.meter = Seen()
    assert lease.look()().output == 3
    await ending.cut()


@pytest.mark.parametrize("stage", [Stage.BEGUN, Stage.PLACING, Stage.DISPATCHED])
async def test_only_a_request_with_an_open_hold_is_dispatched_and_once(
    requests: Requests, stage: Stage
) -> None:
    ending = await requests.at(stage)
    with pytest.raises(ValueError, match="dispatched"):
        ending.dispatch()
    assert ending.stage is stage
    await ending.cut()
    with pytest.raises(ValueError, match="open hold"):
        ending.dispatch()


async def test_a_dispatch_that_cannot_be_written_down_leaves_a_hold_to_be_voided(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_slot: Slot, _hold: PlacedWith | None) -> None:
        raise JournalUnavailable

    ending = await requests.at(Stage.HELD)
    monkeypatch.setattr(Slot, "dispatch", refuse)
    with pytest.raises(JournalUnavailable):
        ending.dispatch()
    assert (ending.stage, ending.charged) == (Stage.HELD, False)
    await ending.cut()
    assert await hold_states(requests.pool, requests.holder) == ["voided"]


async def test_reported_usage_is_charged(requests: Requests) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    assert ending.charged
    ending.meter = Seen(USED)
    assert await ending.settle(whole=True) == Charge(12, 988, 0)
    assert (ending.stage, ending.is_open, ending.charged) == (Stage.SETTLED, False, True)
    assert await requests.until_over() == ["settled"]


@pytest.mark.parametrize(
    ("meter", "readable", "charged"),
    [
        pytest.param(None, True, 9, id="nothing has come"),
        pytest.param(Seen(), True, 12, id="no usage"),
        pytest.param(Seen(has_response=False, text=""), True, 9, id="blank so far"),
        pytest.param(Seen(failed=True), True, 12, id="failed with output"),
        pytest.param(Seen(Usage({"input": 9}, total=9)), True, 12, id="a report without output"),
        pytest.param(Seen(), False, 70, id="unreadable"),
        pytest.param(Seen(failed=True, has_output=False), False, 70, id="unreadable failure"),
    ],
)
async def test_usage_that_is_not_reported_is_counted_or_the_ceiling(
    requests: Requests, meter: Seen | None, readable: bool, charged: int
) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    ending.meter, ending.readable = meter, readable
    await ending.cut()
    assert await requests.until_over() == ["settled"]
    (charge,) = await charges_of(requests.pool, requests.holder)
    assert (-charge["amount"], charge["estimated"]) == (charged, True)


async def test_what_a_long_response_may_be_billed_beside_its_usage_is_that_of_the_ceiling(
    requests: Requests,
) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    more = {"call:web_search": 8, "image_tool_output": 30}
    ending.ceiling = Usage({"input": 20, "output": 50, **more}, total=100, estimated=True)
    ending.meter = Seen(USED, is_partial=True)
    await ending.settle(whole=True)
    assert await requests.until_over() == ["settled"]
    (charge,) = await charges_of(requests.pool, requests.holder)
    assert (-charge["amount"], charge["estimated"]) == (12 + 30, True)


async def test_a_doubtful_report_is_written_down_before_it_is_completed(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Usage] = []
    use = Slot.use

    def using(slot: Slot, usage: Usage) -> None:
        written.append(usage)
        use(slot, usage)

    monkeypatch.setattr(Slot, "use", using)
    reported = Usage({"input": 9}, total=9)
    ending = await requests.at(Stage.DISPATCHED)
    ending.meter = Seen(reported)
    await ending.settle()
    assert written == [reported, Usage({"input": 9, "output": 3}, total=12, estimated=True)]


@pytest.mark.parametrize(
    ("meter", "whole"),
    [
        pytest.param(Seen(failed=True, has_output=False), False, id="failed"),
        pytest.param(Seen(has_response=False), True, id="nothing came"),
        pytest.param(JsonMeter(), True, id="an empty document"),
    ],
)
async def test_what_used_nothing_is_voided(
    requests: Requests, meter: Seen | JsonMeter, whole: bool
) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    ending.meter = meter
    assert await ending.settle(whole=whole) is None
    assert (ending.stage, ending.charged) == (Stage.VOIDED, False)
    assert await requests.until_over() == ["voided"]


@pytest.mark.parametrize("stage", BEFORE_DISPATCH)
async def test_a_request_that_was_not_sent_is_never_settled(
    requests: Requests, stage: Stage
) -> None:
    ending = await requests.at(stage)
    ending.meter = Seen(USED)
    with pytest.raises(ValueError, match="dispatched"):
        await ending.settle()
    assert ending.stage is stage
    await ending.void()


@pytest.mark.parametrize("end", ["void", "cut"])
@pytest.mark.parametrize(
    ("stage", "holds"),
    [
        (Stage.BEGUN, [NO_ROW]),
        # The cancelled statement may have come before its tombstone.
        (Stage.PLACING, [NO_ROW, ["voided"]]),
        (Stage.HELD, [["voided"]]),
    ],
)
async def test_a_request_that_was_not_sent_gives_everything_back(
    requests: Requests, stage: Stage, holds: list[list[str]], end: str
) -> None:
    ending = await requests.at(stage)
    assert ending.is_open
    await ENDS[end](ending)
    assert (ending.stage, ending.is_open, ending.charged) == (Stage.VOIDED, False, False)
    assert await requests.until_over() in holds


@pytest.mark.parametrize(
    ("end", "stage", "hold"),
    [
        ("void", Stage.VOIDED, "voided"),
        ("cut", Stage.SETTLED, "settled"),
        ("settle", Stage.SETTLED, "settled"),
    ],
)
async def test_a_request_that_was_sent_is_settled_unless_nothing_was_used(
    requests: Requests, end: str, stage: Stage, hold: str
) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    ending.note(USED)
    assert ending.stage is Stage.DISPATCHED
    await ENDS[end](ending)
    assert ending.stage is stage
    assert await requests.until_over() == [hold]


@pytest.mark.parametrize("end", ["void", "cut"])
async def test_a_request_that_was_refused_is_voided_whatever_ends_it(
    requests: Requests, end: str
) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    (lease,) = requests.leases._leases.values()
    ending.refuse()
    assert (ending.stage, ending.charged, lease.slot.state) == (Stage.REFUSED, False, State.VOID)
    with pytest.raises(ValueError, match="dispatched"):
        await ending.settle()
    await ENDS[end](ending)
    ending.refuse()
    assert await requests.until_over() == ["voided"]


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
async def test_the_first_end_counts(requests: Requests, first: str, second: str) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    ending.meter = Seen(USED)
    await ENDS[first](ending)
    stage = ending.stage
    ending.note(Usage(total=500))
    assert await ENDS[second](ending) is None
    assert ending.stage is stage
    voided = first == "void"
    assert await requests.until_over() == ["voided" if voided else "settled"]
    account = await account_of(requests.pool, requests.holder)
    assert account.balance == (1000 if voided else 988)


@pytest.mark.parametrize("meter", [Seen(USED), Seen()], ids=["reported", "counted"])
@pytest.mark.parametrize("end", ENDS)
async def test_an_end_goes_on_when_its_request_is_cancelled(
    requests: Requests, end: str, meter: Seen
) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    ending.meter = meter
    await requests.cancel_while_blocked(ENDS[end](ending))
    voided = end == "void"
    assert ending.charged is not voided
    await ending.cut()
    assert await requests.until_over() == ["voided" if voided else "settled"]
    assert len(await charges_of(requests.pool, requests.holder)) == (not voided)


async def test_a_hold_that_is_given_back_is_so_when_its_request_is_cancelled(
    requests: Requests,
) -> None:
    ending = await requests.at(Stage.HELD)
    await requests.cancel_while_blocked(ending.cut())
    assert ending.stage is Stage.VOIDED
    assert await requests.until_over() == ["voided"]


async def test_usage_is_written_down_before_the_end(requests: Requests) -> None:
    ending = await requests.at(Stage.DISPATCHED)
    (lease,) = requests.leases._leases.values()
    ending.note(None)
    assert lease.slot.state is State.DISPATCHED
    ending.note(USED)
    assert (lease.slot.state, lease.slot.usage) == (State.USED, USED)
    await ending.cut()


async def test_a_journal_that_refuses_a_note_stops_nothing(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_slot: Slot, _usage: Usage) -> None:
        raise JournalUnavailable

    monkeypatch.setattr(Slot, "use", refuse)
    ending = await requests.at(Stage.DISPATCHED)
    ending.note(USED)
    ending.meter = Seen(USED)
    assert await ending.settle() == Charge(12, 988, 0)
