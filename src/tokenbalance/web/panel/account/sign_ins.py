"""Where one is signed in, and ending it there: one by one, or everywhere else at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.sign_in_tokens import end_token_by_id, end_tokens, tokens_page
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.links import SIGN_IN
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/sign-ins"


async def show(visit: Visit) -> Response:
    """List the sign-in tokens that work."""
    after = query_form(visit.request).typed("after") or None
    async with visit.management.sessions() as session:
        page = await tokens_page(session, visit.caller.account_id, after, ROWS)
    return render(visit, "account/sign-ins.html", page=page, after=after)


async def end(visit: Visit) -> Response:
    """End one of them, which may be this browser's."""
    token_id = visit.number("token_id")
    async with visit.management.sessions.begin() as session:
        await end_token_by_id(session, token_id, visit.caller.account_id)
    if token_id == visit.caller.key_id:
        return go_to(SIGN_IN, visit, Notice.SIGNED_OUT)
    return go_to(PATH, visit, Notice.SIGN_IN_ENDED)


async def end_others(visit: Visit) -> Response:
    """End all but this browser's."""
    async with visit.management.sessions.begin() as session:
        await end_tokens(session, visit.caller.account_id, visit.caller.key_id)
    return go_to(PATH, visit, Notice.OTHERS_ENDED)


ROUTES: Final = (
    Route(PATH, Page(get=show), include_in_schema=False),
    Route(f"{PATH}/end-others", Page(post=end_others), include_in_schema=False),
    Route(f"{PATH}/{{token_id}}/end", Page(post=end), include_in_schema=False),
)
