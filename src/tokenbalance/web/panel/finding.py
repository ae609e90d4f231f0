"""The field that finds a request by its id, on the pages of superusers and on one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import UnknownRequest, find_request
from tokenbalance.web.panel.forms import Form

if TYPE_CHECKING:
    from tokenbalance.web.panel.visit import Visit

FIELD: Final = "id"


async def look_up(visit: Visit, filters: Form, account_id: int | None) -> tuple[str | None, Form]:
    """Look up the request whose id was typed, if one was.

    Args:
        visit: the visitor's.
        filters: the fields of the address, this one among them.
        account_id: the account that it must belong to; None: any.

    Returns:
        Its id, None if there is none; and the field, with its error.

    """
    typed = filters.typed(FIELD)
    search = Form({FIELD: typed})
    if not typed.strip():
        return None, search
    try:
        async with visit.management.sessions() as session:
            return await find_request(session, typed, account_id), search
    except UnknownRequest as error:
        search.refuse(FIELD, str(error))
        return None, search
