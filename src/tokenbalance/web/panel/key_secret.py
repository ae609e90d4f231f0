"""A key's secret on its way from the form that created it to the page that shows it, once.

In between it is only in the browser, in a cookie that the page deletes. It must never be in an
address, a log or the database, and the page must never create anything: reloading it is safe.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tokenbalance.web.context import base_url
from tokenbalance.web.panel.cookies import Cookie, clear_cookie, read_cookie, set_cookie
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.people.rows import KeyRow, UserRow
    from tokenbalance.people.teams.rows import TeamRow
    from tokenbalance.web.panel.notices import Notice
    from tokenbalance.web.panel.visit import Visit


def lead_to_secret(visit: Visit, keys: str, made: tuple[KeyRow, str], notice: Notice) -> Response:
    """Redirect to the page that shows a new secret.

    Args:
        visit: the one that created it.
        keys: the address of the keys, where the key's own address begins.
        made: the key and its secret.
        notice: what was done.

    """
    key, secret = made
    response = go_to(f"{keys}/{key.id}/secret", visit, notice)
    set_cookie(visit.request, response, Cookie.NEW_KEY, f"{key.id}:{secret}")
    return response


def secret_page(
    visit: Visit, template: str, keys: str, key: KeyRow, whose: UserRow | TeamRow | None = None
) -> Response:
    """Show the secret of a key from the browser's cookie, or say that it was shown before.

    Args:
        visit: the visitor's.
        template: the page.
        keys: the address of the keys, where the key's own address begins.
        key: a key that the visitor may see.
        whose: the user or team that it belongs to, if that is not the visitor.

    """
    secret = _kept_secret(visit, key)
    response = render(
        visit,
        template,
        whose=whose,
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
    # Compared by hash too: nobody who can set cookies may make people use another key.
    return secret if key_id == str(key.id) and key.has_secret(secret) else None
