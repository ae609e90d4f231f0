"""What becomes of a batch whose statement failed, or left something: each goes on by itself.

A statement that fails does nothing for anybody; and one wrong item must not be the others' fate.
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


_ONE_IS_WRONG: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.TransactionRollbackError,
)
"""What a statement fails with on account of some of what it was given."""


@contextmanager
def nothing_done() -> Generator[None]:
    """Leave a whole batch whose statement was refused on account of one of them."""
    with suppress(*_ONE_IS_WRONG):
        yield


async def each_alone(batch: Batch[Item, Result], act: Callable[[Item], Awaitable[Result]]) -> None:
    """Result what is left of a batch, in order of arrival.

    Raises what `UNAVAILABLE` names; any other error is its item's alone.
    """
    for pending in batch:
        if pending.is_settled:
            continue
        try:
            pending.resolve(await act(pending.item))
        except UNAVAILABLE:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised to whoever asked
            pending.fail(error)
