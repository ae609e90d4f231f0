"""The fallback: items that a statement for many left undone get a statement of their own.

A statement that fails does nothing for any of its items, and one wrong item must not fail the rest.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg

from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from tokenbalance.database.batches import Batch

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEM_ERRORS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.TransactionRollbackError,
)
"""Errors of a statement that only some of its items may have caused."""
_REPEATS: Final = 2


@contextmanager
def left_on_item_error() -> Generator[None]:
    """Leave the whole batch to the fallback if its statement failed because of some item."""
    with suppress(*_ITEM_ERRORS):
        yield


async def each_alone(batch: Batch[Item, Result], act: Callable[[Item], Awaitable[Result]]) -> None:
    """Resolve what is left of a batch, one item after the other, in order of arrival.

    Raises the errors of `UNAVAILABLE`; any other error fails its own item only.
    """
    for pending in batch:
        if pending.is_done:
            continue
        try:
            pending.resolve(await act(pending.item))
        except UNAVAILABLE:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised in the caller
            pending.fail(error)


async def repeated(act: Callable[[], Awaitable[Result]]) -> Result:
    """Do again what Postgres has rolled back to end a deadlock: nothing of it has happened.

    For what locks an account, and for a whole transaction. Statements that lock the account and
    then write its row were seen in deadlocks with each other, while entries of grants refer to it.
    """
    for _ in range(_REPEATS):
        with suppress(asyncpg.DeadlockDetectedError):
            return await act()
    return await act()
