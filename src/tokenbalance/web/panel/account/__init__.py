"""A user's own page: balance, usage, keys, requests, ledger, objects, prices, sign-ins, profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.web.panel.account import (
    keys,
    ledger,
    limits,
    models,
    objects,
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
    *limits.ROUTES,
    *requests.ROUTES,
    *ledger.ROUTES,
    *objects.ROUTES,
    *models.ROUTES,
    *sign_ins.ROUTES,
    *profile.ROUTES,
)
