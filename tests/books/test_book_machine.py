"""The books against a model of them: random acts on a real Postgres, compared after each.

The model is a dictionary of holds and a list of entries, and knows no SQL. What it says must be
what the tables say, whatever was done, however often, and in whichever order. The statements are
also broken one guard at a time, and each broken one must be found.

TOKENBALANCE_TEST_EXAMPLES makes the run longer: so many random histories instead of a few.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import postgres
from tests.support.books import Holder, create_holder
from tokenbalance.books.ledger import credits as credit
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book, Known, UnknownHold
from tokenbalance.database import statements
from tokenbalance.database.connections import open_pool, open_sessions
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import Charge, Claim, Hold, Purpose, Usage
from tokenbalance.people.callers import authenticate
from tokenbalance.people.keys import create_key, revoke_key

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Caller
    from tokenbalance.postgres import EmbeddedPostgres

EXAMPLES: Final = int(os.environ.get("TOKENBALANCE_TEST_EXAMPLES", "40"))
STEPS: Final = 30
AUDIT_EVERY: Final = 8
LEASE_S: Final = 3600.0
"""Longer than any history; leases end here only by being moved into the past."""
ENDPOINT: Final = "/chat/completions"

T = TypeVar("T")

PROFILE: Final = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# A guard is found broken or not; the shortest history that shows it is for people.
FINDING: Final = settings(PROFILE, max_examples=60, phases=[Phase.generate])


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    kind: str
    amount: int
    balance_after: int
    request_id: str | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What a request used, and what it was charged."""

    charge: int
    overrun: int
    input: int
    output: int
    estimated: bool
    corrected: bool = False


@dataclass(slots=True)
class ModelHold:
    """A hold as it should be."""

    amount: int
    state: str = "open"
    known_input: int = 0
    known_output: int = 0
    has_lapsed: bool = False
    record: Record | None = None

    @property
    def row(self) -> tuple[object, ...]:
        """As the tables have it; what a lease says matters as long as the hold is open."""
        has_lapsed = self.state == "open" and self.has_lapsed
        known = (self.known_input, self.known_output)
        return (self.amount, self.state, *known, has_lapsed, self.record)

    @property
    def known(self) -> Usage:
        """What it is charged if its process is gone."""
        total = self.known_input + self.known_output
        return Usage(input=self.known_input, output=self.known_output, total=total, estimated=True)


@dataclass(slots=True)
class ModelAccount:
    """An account as it should be."""

    overdraft: int
    entries: list[Entry] = field(default_factory=list)
    holds: dict[str, ModelHold] = field(default_factory=dict)
    may_be_overdrawn: bool = False
    """Set by what may lower a balance below the overdraft: an overrun, a balance that is lowered
    while requests run, a correction that comes late."""

    @property
    def balance(self) -> int:
        return sum(entry.amount for entry in self.entries)

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.state == "open")

    @property
    def limit(self) -> int:
        return self.balance + self.overdraft

    def enter(
        self, kind: str, amount: int, request_id: str | None = None, *, estimated: bool = False
    ) -> None:
        self.entries.append(Entry(kind, amount, self.balance + amount, request_id, estimated))

    def place(self, request_id: str, claim: Claim) -> int | None:
        amount = min(claim.wanted, self.limit)
        if amount < claim.minimum or amount > self.limit - self.held:
            return None
        if request_id in self.holds:
            raise asyncpg.UniqueViolationError
        self.holds[request_id] = ModelHold(amount, known_input=claim.known_input)
        return amount

    def settle(self, request_id: str, usage: Usage) -> Charge | None:
        hold = self.holds.get(request_id)
        if hold is None:
            raise UnknownHold
        if hold.state == "open":
            self._charge(request_id, usage, "settled")
        elif hold.state == "expired":
            self._correct(request_id, usage)
        if hold.record is None:
            return None
        return Charge(hold.record.charge, self.balance, self.held)

    def expire(self, request_id: str, usage: Usage, *, orphaned: bool) -> bool:
        hold = self.holds.get(request_id)
        if hold is None or hold.state != "open" or not (orphaned or hold.has_lapsed):
            return False
        self._charge(request_id, usage, "expired")
        return True

    def void(self, request_id: str) -> None:
        hold = self.holds.get(request_id)
        if hold is not None and hold.state == "open":
            hold.state = "voided"
        elif hold is not None and hold.state == "expired":
            self._correct(request_id, Usage())

    def leave_tombstone(self, request_id: str) -> None:
        if request_id in self.holds:
            self.void(request_id)
        else:
            self.holds[request_id] = ModelHold(1, "voided")

    def renew(self, request_id: str, seen: Usage | None) -> None:
        hold = self.holds.get(request_id)
        if hold is None or hold.state != "open":
            return
        hold.has_lapsed = False
        if seen is not None:
            hold.known_input, hold.known_output = seen.input, seen.output

    def lapsed(self) -> dict[str, ModelHold]:
        return {
            request_id: hold
            for request_id, hold in self.holds.items()
            if hold.state == "open" and hold.has_lapsed
        }

    def _charge(self, request_id: str, usage: Usage, state: str) -> None:
        hold = self.holds[request_id]
        hold.state = state
        hold.record = _record(hold, usage)
        self.may_be_overdrawn |= hold.record.overrun > 0
        self.enter("charge", -usage.total, request_id, estimated=usage.estimated)

    def _correct(self, request_id: str, usage: Usage) -> None:
        hold = self.holds[request_id]
        assert hold.record is not None
        if hold.record.corrected:
            return
        difference = hold.record.charge - usage.total
        hold.record = replace(_record(hold, usage), corrected=True)
        self.may_be_overdrawn |= difference < 0
        if difference:
            self.enter("adjustment", difference, request_id, estimated=usage.estimated)


def _record(hold: ModelHold, usage: Usage) -> Record:
    overrun = max(usage.total - hold.amount, 0)
    return Record(usage.total, overrun, usage.input, usage.output, usage.estimated)


class Shelf:
    """The database that histories share, each on accounts of its own, until one of them fails."""

    def __init__(self, runner: asyncio.Runner, cluster: EmbeddedPostgres, template: str) -> None:
        self._runner = runner
        self._cluster = cluster
        self._template = template
        self._dsn = ""
        self._connections = AsyncExitStack()
        self.is_sound = False

    def run(self, act: Coroutine[object, object, T]) -> T:
        return self._runner.run(act)

    def open(self) -> tuple[Pool, Sessions]:
        if not self.is_sound:
            self.close()
            self.run(self._open())
            self.is_sound = True
        return self._pool, self._sessions

    def close(self) -> None:
        if self._dsn:
            self.run(self._connections.aclose())
            self.run(postgres.drop(self._cluster, self._dsn))
            self._dsn = ""

    async def _open(self) -> None:
        self._dsn = await postgres.clone(self._cluster, self._template)
        self._pool = await self._connections.enter_async_context(open_pool(self._dsn, size=4))
        self._sessions = await self._connections.enter_async_context(open_sessions(self._dsn))


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was made at some time, whether a hold was placed for it or not."""

    account: int
    request_id: str


_request_numbers = count(1)

ACCOUNTS: Final = st.integers(0, 1)
TIMES: Final = st.sampled_from([1, 1, 2, 3])
"""How often something is done, at once: others do it too, or an answer was lost."""
OFFSETS: Final = st.integers(-2, 2)
CLAIMS: Final = st.builds(Claim, st.integers(5, 12), st.just(5), st.integers(0, 5))


class BookMachine(RuleBasedStateMachine):
    """Does everything to the books and to the model, and compares."""

    requests: Bundle[Request] = Bundle("requests")

    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self.shelf = shelf
        self.pool, self.sessions = shelf.open()
        # Until this history has ended well nobody knows what it leaves behind.
        shelf.is_sound = False
        self.book = Book(self.pool, lease_s=LEASE_S)
        self.holders: list[Holder] = []
        self.models: list[ModelAccount] = []
        self.tombstones = 0
        self.steps = 0
        self.is_right = False

    @initialize(
        target=requests,
        balances=st.tuples(st.integers(40, 100), st.integers(40, 100)),
        claims=st.lists(CLAIMS, min_size=6, max_size=6),
    )
    def open_accounts(
        self, balances: tuple[int, int], claims: list[Claim]
    ) -> MultipleResults[Request]:
        for balance, overdraft in zip(balances, (0, 25), strict=True):
            self.holders.append(self.run(create_holder(self.pool, balance, overdraft=overdraft)))
            self.models.append(ModelAccount(overdraft))
            self.models[-1].enter("grant", balance)
        # Rules are left out of histories at random: something to end is always there.
        requests = [self.new_request(number % 2) for number in range(len(claims))]
        for request, claim in zip(requests, claims, strict=True):
            self.place_and_compare(request, claim)
        return multiple(*requests)

    # Holds, and their ends.

    @rule(
        target=requests,
        account=ACCOUNTS,
        edge=st.sampled_from(["small", "available", "limit"]),
        offset=OFFSETS,
        is_fixed=st.booleans(),
        known_input=st.integers(0, 5),
    )
    def place(
        self, account: int, edge: str, offset: int, *, is_fixed: bool, known_input: int
    ) -> Request:
        model = self.models[account]
        edges = {"available": model.limit - model.held, "limit": model.limit, "small": 10}
        wanted = max(edges[edge] + offset, 1)
        minimum = wanted if is_fixed else max(wanted - 3, 1)
        request = self.new_request(account)
        self.place_and_compare(request, Claim(wanted, minimum, known_input))
        return request

    @rule(request=requests, wanted=st.integers(1, 10))
    def place_again_for_the_response_was_lost(self, request: Request, wanted: int) -> None:
        self.place_and_compare(request, Claim(wanted, wanted))

    def place_and_compare(self, request: Request, claim: Claim) -> None:
        caller, model = self.caller_of(request), self.models[request.account]
        purpose = Purpose(request.request_id, ENDPOINT, None)
        try:
            expected = model.place(request.request_id, claim)
        except asyncpg.UniqueViolationError:
            with pytest.raises(asyncpg.UniqueViolationError):
                self.run(self.book.place(caller, purpose, claim))
            return
        hold = self.run(self.book.place(caller, purpose, claim))
        assert (hold and hold.amount) == expected
        if hold is not None:
            assert self.run(self.book.funds(caller.account_id)).available >= 0

    @rule(request=requests, offset=st.integers(-12, 4), estimated=st.booleans(), times=TIMES)
    def settle(self, request: Request, offset: int, times: int, *, estimated: bool) -> None:
        self.settle_and_compare(self.hold_of(request), offset, times, estimated=estimated)

    def settle_and_compare(self, hold: Hold, offset: int, times: int, *, estimated: bool) -> None:
        used = max(hold.amount + offset, 0)
        usage = Usage(input=used // 3, output=used - used // 3, total=used, estimated=estimated)
        model = self.model_of(hold)
        try:
            expected = model.settle(hold.request_id, usage)
        except UnknownHold:
            with pytest.raises(UnknownHold):
                _ = self.run(self.book.settle(hold, usage))
            return
        charges = self.several(*(self.book.settle(hold, usage) for _ in range(times)))
        assert charges == [expected] * times
        if times > 1:
            # Whoever comes later with another count is told what was charged.
            other = replace(usage, input=usage.input + 1, total=used + 1)
            assert self.run(self.book.settle(hold, other)) == expected

    @rule(request=requests, times=TIMES, may_be_unplaced=st.booleans())
    def void(self, request: Request, times: int, *, may_be_unplaced: bool) -> None:
        if may_be_unplaced:
            self.leave_tombstone(request, times)
            return
        self.models[request.account].void(request.request_id)
        hold = self.hold_of(request)
        self.several(*(self.book.void(hold) for _ in range(times)))

    @precondition(lambda self: self.tombstones < 2)
    @rule(target=requests, account=ACCOUNTS, times=TIMES)
    def leave_a_tombstone_for_what_was_never_placed(self, account: int, times: int) -> Request:
        self.tombstones += 1
        request = self.new_request(account)
        self.leave_tombstone(request, times)
        return request

    def leave_tombstone(self, request: Request, times: int) -> None:
        caller = self.caller_of(request)
        purpose = Purpose(request.request_id, ENDPOINT, None)
        self.models[request.account].leave_tombstone(request.request_id)
        self.several(*(self.book.leave_tombstone(caller, purpose) for _ in range(times)))

    # Processes that renew, are late, and die.

    @rule(request=requests, other=requests, output=st.integers(0, 8) | st.none())
    def renew(self, request: Request, other: Request, output: int | None) -> None:
        seen = None if output is None else Usage(input=3, output=output, total=3 + output)
        batch = {request: seen, other: seen}
        for each in batch:
            self.models[each.account].renew(each.request_id, seen)
        self.run(self.book.renew([(self.hold_of(each), seen) for each in batch]))

    @rule(request=requests)
    def lease_ends(self, request: Request) -> None:
        self.end_lease(request)

    @rule(
        request=requests,
        reason=st.sampled_from(["the lease has ended", "orphaned", "none"]),
        times=TIMES,
    )
    def expire(self, request: Request, reason: str, times: int) -> None:
        if reason == "the lease has ended":
            self.end_lease(request)
        is_orphaned = reason == "orphaned"
        model, hold = self.models[request.account], self.hold_of(request)
        usage = Usage(input=2, output=1, total=3, estimated=True)
        expected = model.expire(request.request_id, usage, orphaned=is_orphaned)
        ended = self.several(
            *(self.book.expire(hold, usage, orphaned=is_orphaned) for _ in range(times))
        )
        assert sum(ended) == expected

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        expected = {
            request_id: Known(
                Hold(request_id, holder.account_id, hold.amount),
                hold.known,
            )
            for holder, model in zip(self.holders, self.models, strict=True)
            for request_id, hold in model.lapsed().items()
        }
        models = {
            holder.account_id: model
            for holder, model in zip(self.holders, self.models, strict=True)
        }
        found: dict[str, Known] = {}
        while lapsed := self.run(self.book.lapsed(limit)):
            assert len(lapsed) <= limit
            for known in lapsed:
                # In the order of the books: leases that end at once have none of their own.
                hold = known.hold
                assert models[hold.account_id].expire(hold.request_id, known.usage, orphaned=False)
                assert self.run(self.book.expire(hold, known.usage))
                found[hold.request_id] = known
        assert found == expected

    @rule(limit=st.integers(1, 3))
    def crash(self, limit: int) -> None:
        for account, model in enumerate(self.models):
            for request_id in model.holds:
                self.end_lease(Request(account, request_id))
        self.sweep(limit)
        assert not any(model.held for model in self.models)

    @rule(offset=st.integers(-12, 4), times=TIMES)
    def replay_the_journal(self, offset: int, times: int) -> None:
        # It has the request's name, and nothing of what this process knew.
        for holder, model in zip(self.holders, self.models, strict=True):
            for request_id, expected in model.holds.items():
                known = self.run(self.book.known(holder.account_id, request_id))
                assert known == Known(
                    Hold(request_id, holder.account_id, expected.amount), expected.known
                )
                self.settle_and_compare(known.hold, offset, times, estimated=False)

    # People.

    @rule(
        account=ACCOUNTS,
        kind=st.sampled_from(["grant", "add", "set"]),
        amount=st.integers(-30, 60),
    )
    def enter(self, account: int, kind: str, amount: int) -> None:
        model = self.models[account]
        difference = amount - model.balance if kind == "set" else amount
        is_refused = (
            (kind == "grant" and amount <= 0)
            or (kind == "add" and amount == 0)
            or (difference < 0 and model.limit + difference < 0)
        )
        if is_refused:
            with pytest.raises(credit.CreditError):
                self.run(self.entering(account, kind, amount))
            return
        self.run(self.entering(account, kind, amount))
        model.enter(
            ("top-up" if amount > 0 else "adjustment") if kind == "add" else kind, difference
        )
        model.may_be_overdrawn |= difference < 0 and model.limit < model.held

    @rule(account=ACCOUNTS)
    def revoke_the_key_and_make_another(self, account: int) -> None:
        holder = self.holders[account]
        self.holders[account] = self.run(self.exchange_key(holder))
        with pytest.raises(InvalidApiKey):
            _ = self.run(self.authenticate(holder))

    # What must be true after every step.

    @invariant()
    def the_books_are_right(self) -> None:
        self.the_tables_say_what_the_model_says()
        self.nobody_is_overdrawn_without_a_reason()
        self.steps += 1
        if self.steps % AUDIT_EVERY == 0:
            self.the_audit_finds_nothing()
        self.is_right = True

    def the_tables_say_what_the_model_says(self) -> None:
        for holder, model in zip(self.holders, self.models, strict=True):
            assert self.run(self.tables_of(holder)) == (
                (model.balance, model.held),
                model.entries,
                {request_id: hold.row for request_id, hold in model.holds.items()},
            )

    def nobody_is_overdrawn_without_a_reason(self) -> None:
        for model in self.models:
            if not model.may_be_overdrawn:
                assert model.balance >= -model.overdraft
                assert model.limit - model.held >= 0

    def the_audit_finds_nothing(self) -> None:
        assert self.run(audit(self.pool)).violations == []

    def teardown(self) -> None:
        # After a failure there is nothing more to find.
        if self.is_right:
            self.crash(2)
            self.the_tables_say_what_the_model_says()
            self.the_audit_finds_nothing()
            self.shelf.is_sound = True

    def run(self, act: Coroutine[object, object, T]) -> T:
        self.is_right = False
        return self.shelf.run(act)

    def new_request(self, account: int) -> Request:
        return Request(account, f"tb_{next(_request_numbers)}")

    def several(self, *acts: Coroutine[object, object, T]) -> list[T]:
        async def at_once() -> list[T]:
            return await asyncio.gather(*acts)

        return self.run(at_once())

    def hold_of(self, request: Request) -> Hold:
        model = self.models[request.account].holds.get(request.request_id)
        account_id = self.holders[request.account].account_id
        return Hold(request.request_id, account_id, 10 if model is None else model.amount)

    def model_of(self, hold: Hold) -> ModelAccount:
        (model,) = (
            model
            for holder, model in zip(self.holders, self.models, strict=True)
            if holder.account_id == hold.account_id
        )
        return model

    def caller_of(self, request: Request) -> Caller:
        caller = self.run(self.authenticate(self.holders[request.account]))
        model = self.models[request.account]
        assert caller.available == model.limit - model.held
        return caller

    async def authenticate(self, holder: Holder) -> Caller:
        headers = [(b"authorization", f"Bearer {holder.secret}".encode())]
        return await authenticate(self.pool, headers)

    async def exchange_key(self, holder: Holder) -> Holder:
        async with self.sessions.begin() as session:
            _ = await revoke_key(session, holder.key_id)
            key, secret = await create_key(session, holder.account_id)
        return replace(holder, key_id=key.id, secret=secret)

    def end_lease(self, request: Request) -> None:
        hold = self.models[request.account].holds.get(request.request_id)
        if hold is None or hold.state != "open":
            return
        hold.has_lapsed = True
        move = self.pool.execute(
            "UPDATE holds SET lease_until = now() - interval '1 second'"
            " WHERE account_id = $1 AND request_id = $2",
            self.holders[request.account].account_id,
            request.request_id,
        )
        _ = self.run(move)

    async def entering(self, account: int, kind: str, amount: int) -> None:
        entering = {"grant": credit.grant, "add": credit.add, "set": credit.set_balance}[kind]
        cause = credit.Cause("root@example.com")
        async with self.sessions.begin() as session:
            _ = await entering(session, self.holders[account].account_id, amount, cause)

    async def tables_of(self, holder: Holder) -> tuple[object, ...]:
        account = await self.pool.fetchrow(
            "SELECT balance, held FROM accounts WHERE id = $1", holder.account_id
        )
        entries = await self.pool.fetch(
            "SELECT kind, amount, balance_after, request_id, estimated"
            " FROM ledger_entries WHERE account_id = $1 ORDER BY id",
            holder.account_id,
        )
        assert account is not None
        return (
            tuple(account),
            [Entry(*entry) for entry in entries],
            await self.holds_of(holder),
        )

    async def holds_of(self, holder: Holder) -> dict[str, tuple[object, ...]]:
        rows = await self.pool.fetch(
            "SELECT request_id, amount, state, known_input, known_output,"
            " state = 'open' AND lease_until < now(), u.charge, u.overrun, u.input, u.output,"
            " u.estimated, u.corrected_at IS NOT NULL"
            " FROM holds LEFT JOIN usage u USING (account_id, request_id) WHERE account_id = $1",
            holder.account_id,
        )
        return {
            request_id: (*hold, None if record[0] is None else Record(*record))
            for request_id, hold, record in ((row[0], row[1:6], row[6:]) for row in rows)
        }


@pytest.fixture
def shelf(cluster: EmbeddedPostgres, template: str) -> Iterator[Shelf]:
    # Not the loop of the other tests: rules are not asynchronous.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        shelf = Shelf(runner, cluster, template)
        yield shelf
        shelf.close()


def run_histories(shelf: Shelf, profile: settings) -> None:
    class MachineOnShelf(BookMachine):
        def __init__(self) -> None:
            super().__init__(shelf)

    run_state_machine_as_test(MachineOnShelf, settings=profile)


def test_the_books_agree_with_a_model_whatever_is_done_to_them(shelf: Shelf) -> None:
    run_histories(shelf, PROFILE)


# Statement, what is taken out of it, and what takes its place.
BROKEN: Final = {
    "a hold that does not fit": (
        "PLACE",
        "AND least($4, balance + overdraft) <= balance - held + overdraft",
        "AND 0 <= 1",
    ),
    "a hold below its minimum": ("PLACE", "least($4, balance + overdraft) >= $5", "$5 > 0"),
    "a hold that leaves out the overdraft": (
        "PLACE",
        "<= balance - held + overdraft",
        "<= balance - held",
    ),
    "a charge of a hold that has ended": ("SETTLE", " AND state = 'open'", ""),
    "a charge that leaves what was held": ("SETTLE", "held = held - hold.amount", "held = held"),
    "an expiry of a hold that has ended": ("EXPIRE", " AND state = 'open'", ""),
    "an expiry before the lease has ended": (
        "EXPIRE",
        " AND ($14 OR lease_until < now())",
        " AND ($14 OR NOT $14)",
    ),
    "a correction of what was settled": ("CORRECT", "h.state = 'expired' AND ", ""),
    "a second correction": ("CORRECT", " AND u.corrected_at IS NULL", ""),
    "a correction of the whole charge": ("CORRECT", "balance + charged - $3", "balance - $3"),
    "a void of a hold that has ended": ("VOID", " AND state = 'open'", ""),
    "a renewal of a hold that has ended": ("RENEW", " AND state = 'open'", ""),
    "a renewal that forgets": (
        "RENEW",
        "coalesce(k.input, known_input)",
        "coalesce(k.input, 0)",
    ),
    "a sweep of running requests": ("LAPSED", " AND lease_until < now()", ""),
}


@pytest.mark.parametrize(("name", "guard", "instead"), BROKEN.values(), ids=BROKEN)
def test_a_statement_without_its_guard_is_found(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, guard: str, instead: str
) -> None:
    statement: str = getattr(statements, name)
    assert statement.count(guard) == 1
    monkeypatch.setattr(statements, name, statement.replace(guard, instead))
    with pytest.raises((AssertionError, asyncpg.IntegrityConstraintViolationError)):
        run_histories(shelf, FINDING)
