"""The superusers' pages, below /admin: everybody's balances, keys, entries and requests.

overview     the state of everything, and the last days
users        all of them, and the search; new_user makes one
user         one of them; balance, standing and user_keys take its forms
keys         everybody's API keys (owned_keys reads them)
ledger       everybody's entries
requests     everybody's requests; request explains one, and refunds it
rates        the rate card, and what a request would cost
books        the health of the books, and their proof

routing      asks each of them for a superuser
filters      what lists are filtered by
key_secret   the page that shows a secret, once
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.web.panel.admin import (
    balance,
    books,
    key_secret,
    keys,
    ledger,
    new_user,
    overview,
    rates,
    request,
    requests,
    standing,
    user,
    user_keys,
    users,
)

if TYPE_CHECKING:
    from starlette.routing import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *users.ROUTES,
    # Before the page of one user, whose id would be "new".
    *new_user.ROUTES,
    *user.ROUTES,
    *balance.ROUTES,
    *standing.ROUTES,
    *user_keys.ROUTES,
    *key_secret.ROUTES,
    *keys.ROUTES,
    *ledger.ROUTES,
    *requests.ROUTES,
    *request.ROUTES,
    *rates.ROUTES,
    *books.ROUTES,
)
