"""The form that revokes a key with the keys made with it, and says how many that were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.people.key_ends import revoke_key
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def revoke_and_tell(visit: Visit, back: str, account_id: int | None) -> Response:
    """Revoke the key whose id is in the path.

    Args:
        visit: the visitor's.
        back: where to go then.
        account_id: the account that the key must belong to; None: any.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    async with visit.management.sessions.begin() as session:
        revoked = await revoke_key(session, visit.number("key_id"), account_id)
    if revoked.with_it:
        return go_to(back, visit, Notice.FAMILY_REVOKED, revoked.with_it)
    return go_to(back, visit, Notice.KEY_REVOKED)
