"""The superusers' pages, below /admin: all balances, keys, entries and requests.

overview     the state of everything, and the last days
users        all users, with a search; new_user creates one, imports many
tags         forms that change everybody with a tag, or the tags of one user
user         one user; balance, grants, standing and user_keys handle the forms of its page
teams        all teams, with a search, and creating one
team         one team; balance and grants handle the forms of its page
payers       whose account a form changes: a user's, or a team's
limits       limits and budgets of the account of a user or a team, or of a key
keys         the API keys of all users
ledger       the entries of all users
requests     the requests of all users; request explains one, and refunds it
objects      what a user has stored upstream
events       what superusers, commands and the server have changed
rates        the rate card, and what a request would cost
books        the health of the books, and their verification

routing      requires a superuser for each of them
filters      the filters of lists
key_secret   the page that shows a secret, once
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.web.panel.admin import (
    balance,
    books,
    events,
    grants,
    imports,
    key_secret,
    keys,
    ledger,
    limits,
    new_user,
    objects,
    overview,
    rates,
    request,
    requests,
    standing,
    tags,
    team,
    teams,
    user,
    user_keys,
    users,
)

if TYPE_CHECKING:
    from starlette.routing import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *users.ROUTES,
    # Before the page of one user, whose id would be "new" or "import".
    *new_user.ROUTES,
    *imports.ROUTES,
    *tags.ROUTES,
    *user.ROUTES,
    *teams.ROUTES,
    *team.ROUTES,
    *balance.ROUTES,
    *grants.ROUTES,
    *standing.ROUTES,
    *user_keys.ROUTES,
    *limits.ROUTES,
    *key_secret.ROUTES,
    *keys.ROUTES,
    *ledger.ROUTES,
    *requests.ROUTES,
    *request.ROUTES,
    *objects.ROUTES,
    *events.ROUTES,
    *rates.ROUTES,
    *books.ROUTES,
)
