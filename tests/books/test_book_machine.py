"""The books against a model of them: random acts on a real Postgres, compared after each.

What the model says must be what the tables say, whatever was done, however often, and in whichever
order. The statements are also broken one guard at a time, and each broken one must be found.

TOKENBALANCE_TEST_EXAMPLES makes the run longer: so many random histories instead of a few.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.book_model import ModelAccount
from tests.support.book_shelf import Shelf
from tests.support.books import create_holder
from tests.support.compared_books import ComparedBooks, Request
from tokenbalance.books.ledger import credits as credit
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Known
from tokenbalance.database import statements
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import Claim, Hold, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.postgres import EmbeddedPostgres


EXAMPLES: Final = int(os.environ.get("TOKENBALANCE_TEST_EXAMPLES", "40"))


STEPS: Final = 30


AUDIT_EVERY: Final = 8


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
FINDING: Final = settings(PROFILE, max_examples=200, phases=[Phase.generate])


ACCOUNTS: Final = st.integers(0, 1)


TIMES: Final = st.sampled_from([1, 1, 2, 3])
"""How often something is done, at once: others do it too, or an answer was lost."""


OFFSETS: Final = st.integers(-2, 2)


CLAIMS: Final = st.builds(Claim, st.integers(5, 12), st.just(5), st.integers(0, 5))


class BookMachine(ComparedBooks):
    """Does everything to the books and to the model, and compares."""

    requests: Bundle[Request] = Bundle("requests")

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
        hold = self.models[request.account].holds.get(request.request_id)
        if hold is None or hold.may_be_placed_again:
            self.place_and_compare(request, Claim(wanted, wanted))

    @rule(request=requests, offset=st.integers(-12, 4), estimated=st.booleans(), times=TIMES)
    def settle(self, request: Request, offset: int, times: int, *, estimated: bool) -> None:
        self.settle_and_compare(self.hold_of(request), offset, times, estimated=estimated)

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

    # Processes that send heartbeats, are late, and die.

    @rule(request=requests, other=requests, output=st.integers(0, 8) | st.none())
    def renew(self, request: Request, other: Request, output: int | None) -> None:
        seen = None if output is None else Usage({"input": 3, "output": output}, total=3 + output)
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
        usage = Usage({"input": 2, "output": 1}, total=3, estimated=True)
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
                _ = self.run(self.entering(account, kind, amount))
            return
        expected = model.enter_by_hand(
            ("top-up" if amount > 0 else "adjustment") if kind == "add" else kind, difference
        )
        assert self.run(self.entering(account, kind, amount)) == expected

    @rule(account=ACCOUNTS, overdraft=st.integers(-1, 60))
    def set_the_overdraft(self, account: int, overdraft: int) -> None:
        model = self.models[account]
        least = min(max(model.held - model.balance, 0), model.overdraft)
        setting = self.setting_overdraft(account, overdraft)
        if overdraft < least:
            with pytest.raises(credit.CreditError):
                self.run(setting)
            return
        self.run(setting)
        model.overdraft = overdraft
        model.enter("set", 0)

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
                {name: hold.row for name, hold in model.holds.items() if hold.is_request},
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
    "a charge of a tombstone": ("SETTLE_LIMITED", " AND amount > 0", ""),
    "a charge that leaves what was held": (
        "SETTLE_LIMITED",
        "held = held - hold.amount",
        "held = held",
    ),
    "an expiry of a tombstone": ("EXPIRE", " AND amount > 0", ""),
    "an expiry before the lease has ended": (
        "EXPIRE",
        " AND ($7 OR lease_until < now())",
        " AND ($7 OR NOT $7)",
    ),
    "a correction of what was settled": ("NEWEST_RATES", "\n   AND e.state = 'expired'", ""),
    "a second correction": (
        "CORRECT",
        (
            "ON CONFLICT (request_id, account_id)\n          WHERE kind = 'adjustment'"
            " AND request_id IS NOT NULL AND rates IS NULL\n    DO NOTHING"
        ),
        "",
    ),
    "a correction of the whole charge": ("CORRECT", "balance + entry.amount", "balance - $3"),
    "a void of a tombstone": ("VOID", " AND amount > 0", ""),
    "a correction that adds what was used": ("CORRECT", "-value::bigint", "0"),
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
