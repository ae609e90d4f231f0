"""What one has stored upstream, and how to delete it: by the API, as OpenAI has it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.database.paging import Page as Rows
from tokenbalance.owners.stored import stored_page
from tokenbalance.web.context import base_url
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import render
from tokenbalance.web.panel.stored_kinds import KIND_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from tokenbalance.owners.stored import StoredRow
    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/objects"


async def show(visit: Visit) -> Response:
    """List the objects that match the filter."""
    form = query_form(visit.request, ("kind", "after"))
    kind = form.one_of("kind", KIND_NAMES) or None
    after = form.typed("after") or None
    page: Rows[StoredRow] = Rows((), None)
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await stored_page(session, visit.caller.account_id, kind, after, ROWS)
    return render(
        visit,
        "account/objects.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        page=page,
        after=after,
        kinds=KIND_NAMES,
        deletion=_deletion(visit, page.data),
    )


def _deletion(visit: Visit, rows: Sequence[StoredRow]) -> str | None:
    """Write the command that deletes the first object for which there is one."""
    paths = {
        one.uses[0]: one.path
        for one in visit.management.surface.operations
        if one.method == "DELETE" and len(one.uses) == 1
    }
    for row in rows:
        if row.kind in paths and re.fullmatch(r"[\w:.-]+", row.id):
            path = re.sub(r"\{\w+\}", row.id, paths[row.kind])
            return (
                f"curl -X DELETE {base_url(visit.request)}/v1{path} \\\n"
                '  -H "Authorization: Bearer $OPENAI_API_KEY"'
            )
    return None


ROUTES: Final = (Route(PATH, Page(get=show), include_in_schema=False),)
