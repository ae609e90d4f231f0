"""Whose a row is: who answers for it, and the team that pays for it, as columns and joins.

    a row of                                        user            team
    a personal account                              its user        empty
    a key of a team that a member answers for       that member     the team's name
    a service key of a team, or of no key           nobody          the team's name

Who has left a team still answers for what was sent before. The only place for this rule.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportExplicitAny=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func

from tokenbalance.database.tables import Account, ApiKey, User

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, SQLColumnExpression

EMAIL: Final[ColumnElement[str]] = func.coalesce(User.email, "").label("email")
"""Of who answers for the row; empty: nobody does."""
TEAM: Final[ColumnElement[str]] = Account.name.label("team")
"""The name of the team that pays; empty: a personal account."""
WHOSE: Final = (User.id.label("user_id"), EMAIL, TEAM)
"""Columns of statements that `with_whose` has completed."""
ANSWERS: Final[ColumnElement[int | None]] = func.coalesce(ApiKey.user_id, Account.user_id)
"""Who answers for a key."""
PAYER: Final[ColumnElement[str]] = func.coalesce(User.email, Account.name)
"""Who answers for a row, for people: the e-mail, or the team's name if nobody does."""


def with_whose(
    rows: Select[*tuple[Any, ...]], account_id: SQLColumnExpression[int], *, have_keys: bool = True
) -> Select[*tuple[Any, ...]]:
    """Join what the columns are read from.

    Args:
        rows: a statement that may have any of the columns.
        account_id: the account of each row.
        have_keys: whether the statement has joined `ApiKey`; otherwise nobody answers for the rows
            of a team.

    """
    user_id = ANSWERS if have_keys else Account.user_id
    return rows.join(Account, Account.id == account_id).outerjoin(User, User.id == user_id)
