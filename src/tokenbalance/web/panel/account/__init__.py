"""A user's own page: balance and usage, keys, requests, ledger, profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.web.panel.account import keys, ledger, overview, profile, requests

if TYPE_CHECKING:
    from starlette.routing import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *keys.ROUTES,
    *requests.ROUTES,
    *ledger.ROUTES,
    *profile.ROUTES,
)
