"""What of a balance ends when, and what comes when: on a user's page and one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.grants.allowances import allowances_of
from tokenbalance.books.grants.issuing import grants_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.books.grants.allowances import AllowanceRow
    from tokenbalance.books.grants.issuing import GrantRow
    from tokenbalance.database.connections import Session

EVERY: Final[Mapping[str, str]] = {
    "week": "every Monday",
    "day": "every day",
    "month": "on the 1st of every month",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """The grants and allowances of an account."""

    grants: Sequence[GrantRow]
    """First what is spent first; none while the balance has no end."""
    allowances: Sequence[AllowanceRow]


async def parts_of(session: Session, account_id: int) -> Parts:
    """Find them, after what is due was entered."""
    grants = await grants_of(session, account_id)
    return Parts(grants, await allowances_of(session, account_id))
