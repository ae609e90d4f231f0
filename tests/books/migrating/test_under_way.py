"""The books move while servers use them, and while processes and connections end."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import version_1
from tests.support.old_books import OldBooks, OldServer
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.migrate import migrate
from tokenbalance.database.moving import contract, upgrade
from tokenbalance.database.moving.locks import with_locks
from tokenbalance.database.moving.upgrade import Move

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sqlalchemy import Connection as AlchemyConnection

    from tests.books.migrating.conftest import Connection

_begin: Final = Move._begin


class Cut(Exception):
    """The process that migrates ends here."""


def before_each_batch(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    @contextmanager
    def begin(move: Move) -> Generator[AlchemyConnection]:
        act()
        with _begin(move) as connection:
            yield connection

    monkeypatch.setattr(Move, "_begin", begin)


async def test_a_move_that_ends_at_any_batch_goes_on_there(
    old_dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await version_1.said(connection, version_1.WHAT_IT_SAYS)
    for batches in (0, 3, 5, 6, 4, 12, 16):
        left = batches

        @contextmanager
        def begin(move: Move) -> Generator[AlchemyConnection]:
            nonlocal left
            with _begin(move) as work:
                yield work
                left -= 1
                if left < 0:
                    raise Cut

        monkeypatch.setattr(Move, "_begin", begin)
        with pytest.raises(Cut):
            await asyncio.to_thread(migrate, old_dsn)
    monkeypatch.undo()
    await asyncio.to_thread(migrate, old_dsn)
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == before


async def test_a_switch_that_fails_at_its_end_leaves_the_old_tables_in_use(
    old_dsn: str, connection: Connection, old: OldBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    copy_days = Move.copy_days
    numbers = count()

    def fail(*_arguments: object) -> None:
        raise Cut

    def void_one_before(move: Move) -> None:
        asyncio.run_coroutine_threadsafe(void_one(), loop).result()
        copy_days(move)

    async def void_one() -> None:
        late = f"tf_{next(numbers)}"
        await old.place(3, late)
        await old.void(3, late)

    with monkeypatch.context() as patch:
        patch.setattr(contract, "take_over_ids", fail)
        # When voids have been moved, and what came meanwhile has not.
        patch.setattr(Move, "copy_days", void_one_before)
        for _ in range(2):
            with pytest.raises(Cut):
                await asyncio.to_thread(migrate, old_dsn)
    await old.settle(3, "tb_open_1")
    assert await old.violations() == []
    before = await version_1.said(connection, version_1.WHAT_IT_SAYS)
    await asyncio.to_thread(migrate, old_dsn)
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == before


async def test_requests_of_the_release_before_are_placed_and_end_during_the_move(
    old_dsn: str, connection: Connection, old: OldBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = OldServer(old)
    await server.place()
    loop = asyncio.get_running_loop()

    def serve() -> None:
        asyncio.run_coroutine_threadsafe(server.serve(), loop).result()

    def serve_and_lock(*arguments: Any) -> bool:
        serve()
        return with_locks(*arguments)

    monkeypatch.setattr(upgrade, "FEW", 10)
    before_each_batch(monkeypatch, lambda: serve() if server.served < 60 else None)
    monkeypatch.setattr("tokenbalance.database.moving.contract.with_locks", serve_and_lock)
    said = look_while_the_old_tables_are_locked(monkeypatch)
    await asyncio.to_thread(migrate, old_dsn)
    assert server.served > 40
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == said
    assert (await audit(connection)).violations == []


def look_while_the_old_tables_are_locked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    copy_the_rest = contract._copy_the_rest

    def look_before_the_rest(final: AlchemyConnection, days_until: tuple[int, int]) -> None:
        for what, statement in version_1.WHAT_IT_SAYS.items():
            rows = final.exec_driver_sql(version_1.as_text(statement))
            said[what] = list(rows.scalars())
        copy_the_rest(final, days_until)

    monkeypatch.setattr(contract, "_copy_the_rest", look_before_the_rest)
    return said
