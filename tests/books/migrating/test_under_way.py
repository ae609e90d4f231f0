"""The books move while servers use them, and while processes and connections end."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from tests.support import version_1
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.migrate import migrate
from tokenbalance.database.moving import contract, upgrade
from tokenbalance.database.moving.upgrade import Move

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sqlalchemy import Connection as AlchemyConnection

    from tests.books.migrating.conftest import Connection
    from tests.support.old_books import OldBooks

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
    def fail(*_arguments: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(contract, "take_over_ids", fail)
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
    for number in range(100):
        await old.place(1, f"tb_{number:02}_before")
    loop = asyncio.get_running_loop()
    served: list[int] = []

    async def serve() -> None:
        number = len(served)
        served.append(number)
        name = f"td_{number:02}"
        await old.void(1, f"tb_{number:02}_before")
        await old.leave_tombstone(2, f"{name}_late")
        for ending in ("now", "less", "same"):
            await old.place(2, f"{name}_{ending}")
        await old.settle(2, f"{name}_now")
        for ending in ("less", "same"):
            await old.expire(2, f"{name}_{ending}")
        if number:
            # Perhaps it was copied meanwhile.
            await old.correct(2, f"td_{number - 1:02}_less", 5)
            await old.correct(2, f"td_{number - 1:02}_same", 60)
        if number < 12:
            await old.correct(number % 3 + 1, f"tb_{number:02}_expired", 60 - number)
        await old.enter(3, "top-up", 1, key=f"during-{number}")
        if number % 10 == 0:
            assert await old.violations() == []

    monkeypatch.setattr(upgrade, "FEW", 10)
    before_each_batch(
        monkeypatch,
        lambda: (
            asyncio.run_coroutine_threadsafe(serve(), loop).result() if len(served) < 60 else None
        ),
    )
    said: dict[str, list[str]] = {}
    copy_the_rest = contract._copy_the_rest

    def look_before_the_rest(final: AlchemyConnection, days_until: tuple[int, int]) -> None:
        for what, statement in version_1.WHAT_IT_SAYS.items():
            rows = final.exec_driver_sql(version_1.as_text(statement))
            said[what] = list(rows.scalars())
        copy_the_rest(final, days_until)

    monkeypatch.setattr(contract, "_copy_the_rest", look_before_the_rest)
    await asyncio.to_thread(migrate, old_dsn)
    assert len(served) > 40
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == said
    assert (await audit(connection)).violations == []
    with pytest.raises(asyncpg.UndefinedTableError):
        await old.place(1, "tb_after")
