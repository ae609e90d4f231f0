"""The counts of limits at one moment, and the windows that they are counted in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.database.connections import Pool
    from tokenbalance.model.limits import LimitState


class Limits:
    """Reads counts and enters windows, on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def states(self, account_id: int, subjects: Sequence[str]) -> tuple[LimitState, ...]:
        """Read the counts of subjects, after entering every window that has begun.

        Returns:
            In one fixed order: the subjects as they are given, the limits of each as in `COUNTED`,
            then its budgets by name. All of them at the same moment.

        """
        raise NotImplementedError

    async def open_end_user(
        self, account_id: int, subject: str, limits: Mapping[str, object]
    ) -> None:
        """Write the limits of an end user, unless they are written already.

        What has been taken from a limit stays taken. Call it before the first hold of a subject and
        whenever the limits of its key have a new version; no row means no limit.

        Args:
            account_id: who pays.
            subject: such as `end:` and a hash.
            limits: as a key has them; those that are not counted are left out.

        """
        raise NotImplementedError
