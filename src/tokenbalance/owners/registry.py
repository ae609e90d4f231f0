"""The table of objects: who owns what the upstream stores under an id.

Owns how rows are found, recorded and deleted. It must never find an object for an account that is
not its owner, and says the same of somebody else's object as of one that nobody has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tokenbalance.database import statements
from tokenbalance.model.objects import Owned
from tokenbalance.owners.lists import ObjectLists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller
    from tokenbalance.model.objects import Found


class Owners:
    """Finds and records objects; every method raises what asyncpg raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.lists: ObjectLists = ObjectLists(pool)

    async def find(
        self, account_id: int, ids: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], Owned]:
        """Look up objects of an account.

        Args:
            account_id: whose.
            ids: pairs of a kind and an id.

        Returns:
            Those that it has, by kind and id.

        """
        rows = await self._pool.fetch(
            statements.FIND_OBJECTS, account_id, [one for _, one in ids], [kind for kind, _ in ids]
        )
        owned = [
            Owned(*cast("tuple[str, str, str | None, str | None, int | None, int | None]", row))
            for row in map(tuple, rows)
        ]
        return {(one.kind, one.id): one for one in owned}

    async def record(self, caller: Caller, found: Sequence[Found]) -> None:
        """Make objects the caller's; returns when that is committed."""
        if not found:
            return
        # The statement must not touch a row twice: of equal ids the last one counts.
        rows = {(one.kind, one.id): one for one in found}.values()
        _ = await self._pool.execute(
            statements.RECORD_OBJECTS,
            [caller.account_id] * len(rows),
            [caller.key_id] * len(rows),
            [one.id for one in rows],
            [one.kind for one in rows],
            [one.parent for one in rows],
            [one.state for one in rows],
            [one.size for one in rows],
            [one.tokens for one in rows],
            [one.expires_at for one in rows],
            [one.snapshot for one in rows],
        )

    async def delete(self, account_id: int, kind: str, object_id: str) -> bool:
        """Mark an object and its parts as deleted; False if the account has no such object."""
        return bool(await self._pool.fetch(statements.DELETE_OBJECT, account_id, object_id, kind))

    async def restore(self, account_id: int, kind: str, object_id: str) -> None:
        """Take a deletion back: the upstream has the object still."""
        _ = await self._pool.execute(statements.RESTORE_OBJECT, account_id, object_id, kind)
