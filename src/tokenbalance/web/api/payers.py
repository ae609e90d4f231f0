"""The account that a route about money is about, named by its id or by its user; superusers only.

Routes below `/api/balance/{user_id}` and `/api/accounts/{account_id}` are the same, apart from it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tokenbalance.database.connections import Session
from tokenbalance.people.account_limits import get_account
from tokenbalance.people.users import get_user
from tokenbalance.web.api.callers import Superuser
from tokenbalance.web.api.fields import Number

OF_A_USER: Final = "/balance/{user_id}"
OF_AN_ACCOUNT: Final = "/accounts/{account_id}"


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays: the account of a user, or any account."""

    user_id: int | None = None
    account_id: int | None = None

    async def find(self, session: Session) -> int:
        """Return the id of the account.

        Raises:
            UnknownUser, UnknownAccount: there is none.

        """
        if self.user_id is not None:
            return (await get_user(session, self.user_id)).account.id
        return (await get_account(session, self.account_id or 0)).id


async def payer_of_user(_caller: Superuser, user_id: Number) -> Payer:
    """Name an account by its user."""
    return Payer(user_id=user_id)


async def payer_of_account(_caller: Superuser, account_id: Number) -> Payer:
    """Name an account by its id."""
    return Payer(account_id=account_id)


FindPayer: TypeAlias = Callable[..., Awaitable[Payer]]
PATHS: Final[tuple[tuple[str, FindPayer], ...]] = (
    (OF_A_USER, payer_of_user),
    (OF_AN_ACCOUNT, payer_of_account),
)
"""Where routes about money begin, and who is named there."""
