"""The page that shows a key's secret: the answer to the form itself, and its only place."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from tokenbalance.panel.links import base_url
from tokenbalance.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.database.tables import ApiKey, User
    from tokenbalance.panel.visit import Visit


def secret_page(visit: Visit, user: User, made: tuple[ApiKey, str], heading: str) -> Response:
    """Show a secret, which is kept nowhere.

    Args:
        visit: whose form has asked for it.
        user: who gets it.
        made: the key and its secret.
        heading: what has been done.

    """
    key, secret = made
    return render(
        visit,
        "admin/secret.html",
        status=HTTPStatus.CREATED,
        heading=heading,
        user=user,
        key=key,
        secret=secret,
        base_url=f"{base_url(visit.request)}/v1",
    )
