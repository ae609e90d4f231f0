"""A key's secret on its way from the form that made it to the page that shows it, once.

Only the browser keeps it in between, in a cookie that ends with that page. It must never stand in
an address, in a log or in the database, and the page must never make anything: reloading it is
safe.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tokenbalance.web.panel.cookies import Cookie, clear_cookie, read_cookie, set_cookie
from tokenbalance.web.panel.links import base_url
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.people.rows import KeyRow, UserRow
    from tokenbalance.web.panel.notices import Notice
    from tokenbalance.web.panel.visit import Visit


def lead_to_secret(visit: Visit, keys: str, made: tuple[KeyRow, str], notice: Notice) -> Response:
    """Lead on to the page that shows a new secret.

    Args:
        visit: whose form has asked for it.
        keys: the address that the key's own begins with.
        made: the key and its secret.
        notice: what has been done.

    """
    key, secret = made
    response = go_to(f"{keys}/{key.id}/secret", visit, notice)
    set_cookie(visit.request, response, Cookie.NEW_KEY, f"{key.id}:{secret}")
    return response


def secret_page(
    visit: Visit, template: str, keys: str, key: KeyRow, user: UserRow | None = None
) -> Response:
    """Show the secret that the browser has kept for this key; else say that it was shown.

    Args:
        visit: who looks at it.
        template: the page.
        keys: the address that the key's own begins with.
        key: one that they may see.
        user: whose it is, where it is not their own.

    """
    secret = _kept_secret(visit, key)
    response = render(
        visit,
        template,
        user=user,
        keys=keys,
        key=key,
        secret=secret,
        ended=key.has_ended(datetime.now(UTC)),
        base_url=f"{base_url(visit.request)}/v1",
    )
    if secret is not None:
        clear_cookie(visit.request, response, Cookie.NEW_KEY)
    return response


def _kept_secret(visit: Visit, key: KeyRow) -> str | None:
    key_id, _, secret = (read_cookie(visit.request, Cookie.NEW_KEY) or "").partition(":")
    # Also by its hash: whoever can set cookies here must not have people use a key of theirs.
    return secret if key_id == str(key.id) and key.has_secret(secret) else None
