"""A user's own page: balance and usage, keys, requests, ledger, prices, sign-ins, profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.web.panel.account import (
    keys,
    ledger,
    models,
    overview,
    profile,
    requests,
    sign_ins,
)

if TYPE_CHECKING:
    from starlette.routing import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *keys.ROUTES,
    *requests.ROUTES,
    *ledger.ROUTES,
    *models.ROUTES,
    *sign_ins.ROUTES,
    *profile.ROUTES,
)
