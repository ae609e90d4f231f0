"""One's API keys: made, given a new secret, revoked. A secret is shown once, and never again."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.accounts.keys import (
    InvalidExpiry,
    InvalidKeyName,
    create_key,
    keys_page,
    revoke_key,
    rotate_key,
)
from tokenbalance.panel.forms import Form, query_form
from tokenbalance.panel.key_form import read_limits
from tokenbalance.panel.links import base_url
from tokenbalance.panel.notices import Notice
from tokenbalance.panel.page import Page
from tokenbalance.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.database.tables import ApiKey
    from tokenbalance.panel.visit import Visit

PATH: Final = "/account/keys"
ROWS: Final = 50


async def show(visit: Visit) -> Response:
    """List the keys, and offer to make one."""
    return await _render(visit, Form())


async def create(visit: Visit) -> Response:
    """Make a key, and show its secret."""
    form = visit.form
    expires_at = form.end_of_day("expires_on")
    limits = read_limits(form)
    if form.errors:
        return await _render(visit, form, HTTPStatus.BAD_REQUEST)
    try:
        async with visit.management.sessions.begin() as session:
            key, secret = await create_key(
                session,
                visit.caller.account_id,
                name=form.typed("name"),
                expires_at=expires_at,
                limits=limits,
            )
    except InvalidKeyName as error:
        form.refuse("name", str(error))
    except InvalidExpiry as error:
        form.refuse("expires_on", str(error))
    else:
        return show_secret(visit, key, secret, "The key is made")
    return await _render(visit, form, HTTPStatus.BAD_REQUEST)


async def rotate(visit: Visit) -> Response:
    """Give a key a new secret, and show it."""
    async with visit.management.sessions.begin() as session:
        key, secret = await rotate_key(session, visit.number("key_id"), visit.caller.account_id)
    return show_secret(visit, key, secret, "The key has a new secret")


async def revoke(visit: Visit) -> Response:
    """End a key."""
    async with visit.management.sessions.begin() as session:
        await revoke_key(session, visit.number("key_id"), visit.caller.account_id)
    return go_to(PATH, visit, Notice.KEY_REVOKED)


def show_secret(visit: Visit, key: ApiKey, secret: str, heading: str) -> Response:
    """Show a secret, which is kept nowhere: the answer to the form itself is its only place."""
    return render(
        visit,
        "account/secret.html",
        status=HTTPStatus.CREATED,
        heading=heading,
        key=key,
        secret=secret,
        base_url=f"{base_url(visit.request)}/v1",
    )


async def _render(visit: Visit, form: Form, status: int = HTTPStatus.OK) -> Response:
    after = query_form(visit.request).typed("after") or None
    async with visit.management.sessions() as session:
        page = await keys_page(session, visit.caller.account_id, after, ROWS)
    now = datetime.now(UTC)
    return render(
        visit,
        "account/keys.html",
        status=status,
        page=page,
        after=after,
        form=form,
        now=now,
        today=now.date(),
    )


ROUTES: Final = (
    Route(PATH, Page(get=show, post=create), include_in_schema=False),
    Route(f"{PATH}/{{key_id}}/rotate", Page(post=rotate), include_in_schema=False),
    Route(f"{PATH}/{{key_id}}/revoke", Page(post=revoke), include_in_schema=False),
)
