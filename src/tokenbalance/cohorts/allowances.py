"""The allowance of an imported user: where imports meet the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.people.imports.mistakes import Mistake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.database.connections import Session
    from tokenbalance.people.imports.cells import Allowance, Person


def mistakes_about(people: Sequence[Person]) -> list[Mistake]:
    """Return a mistake for each allowance that the books cannot give."""
    reason = "allowances are not available yet: leave `allowance` and `every` empty"
    return [Mistake(one.line, "allowance", reason) for one in people if one.allowance]


async def allow(session: Session, account_id: int, allowance: Allowance, cause: Cause) -> None:
    """Give an account an allowance, the first of which is due at once."""
    raise NotImplementedError(session, account_id, allowance, cause)
