"""The books next to a model of them: each act is done to both, and compared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
)

from tests.support.book_model import Entry, ModelAccount, Record
from tests.support.request_rows import REQUESTS
from tokenbalance.books.ledger import credits as credit
from tokenbalance.books.ledger.book import Book, UnknownHold
from tokenbalance.books.ledger.overdrafts import set_overdraft
from tokenbalance.model import CLI, Actor, Claim, Hold, Purpose, Usage
from tokenbalance.people.callers import authenticate
from tokenbalance.people.key_ends import revoke_key
from tokenbalance.people.keys import create_key

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.book_shelf import Shelf, T
    from tests.support.books import Holder
    from tokenbalance.model import Caller


LEASE_S: Final = 3600.0
"""Longer than any history; leases end here only by being moved into the past."""


ENDPOINT: Final = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was made at some time, whether a hold was placed for it or not."""

    account: int
    request_id: str


request_numbers = count(1)


class ComparedBooks(RuleBasedStateMachine):
    """Books and a model of them, side by side; what is done to one is done to the other."""

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

    def settle_and_compare(self, hold: Hold, offset: int, times: int, *, estimated: bool) -> None:
        used = max(hold.amount + offset, 0)
        usage = Usage(
            {"input": used // 3, "output": used - used // 3}, total=used, estimated=estimated
        )
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
            other = Usage({**usage.quantities, "input": usage.input + 1}, used + 1, estimated)
            assert self.run(self.book.settle(hold, other)) == expected

    def leave_tombstone(self, request: Request, times: int) -> None:
        caller = self.caller_of(request)
        purpose = Purpose(request.request_id, ENDPOINT, None)
        self.models[request.account].leave_tombstone(request.request_id)
        self.several(*(self.book.leave_tombstone(caller, purpose) for _ in range(times)))

    def run(self, act: Coroutine[object, object, T]) -> T:
        self.is_right = False
        return self.shelf.run(act)

    def new_request(self, account: int) -> Request:
        return Request(account, f"tb_{next(request_numbers)}")

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
            _ = await revoke_key(session, holder.key_id, actor=CLI)
            key, secret = await create_key(session, holder.account_id, actor=CLI)
        return replace(holder, key_id=key.id, secret=secret)

    def end_lease(self, request: Request) -> None:
        hold = self.models[request.account].holds.get(request.request_id)
        if hold is None or hold.state != "open":
            return
        hold.has_lapsed = True
        move = self.pool.execute(
            "UPDATE open_holds SET lease_until = now() - interval '1 second'"
            " WHERE account_id = $1 AND request_id = $2",
            self.holders[request.account].account_id,
            request.request_id,
        )
        _ = self.run(move)

    async def entering(self, account: int, kind: str, amount: int) -> int:
        """Add an entry; returns what was kept of it for holds."""
        entering = {"grant": credit.grant, "add": credit.add, "set": credit.set_balance}[kind]
        cause = credit.Cause(Actor("root@example.com"))
        async with self.sessions.begin() as session:
            entry = await entering(session, self.holders[account].account_id, amount, cause)
        return entry.kept_for_holds

    async def setting_overdraft(self, account: int, overdraft: int) -> None:
        cause = credit.Cause(Actor("root@example.com"))
        async with self.sessions.begin() as session:
            _ = await set_overdraft(session, self.holders[account].account_id, overdraft, cause)

    async def tables_of(self, holder: Holder) -> tuple[object, ...]:
        account = await self.pool.fetchrow(
            "SELECT balance, held FROM accounts WHERE id = $1", holder.account_id
        )
        entries = await self.pool.fetch(
            "SELECT kind, amount, balance_after, request_id, estimated"
            " FROM ledger WHERE account_id = $1 AND balance_after IS NOT NULL ORDER BY id",
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
            "SELECT request_id, amount, state, known_input, known_output,"  # noqa: S608 - a constant
            " state = 'open' AND lease_until < now(), charge, overrun, input, output,"
            f" estimated, corrected FROM {REQUESTS} r WHERE account_id = $1",
            holder.account_id,
        )
        return {
            request_id: (*hold, None if record[0] is None else Record(*record))
            for request_id, hold, record in ((row[0], row[1:6], row[6:]) for row in rows)
        }
