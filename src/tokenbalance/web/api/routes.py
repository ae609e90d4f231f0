"""All management routes, in the order in which the documentation lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.web.api.accounts import accounts_router
from tokenbalance.web.api.alerts import alerts_router
from tokenbalance.web.api.balances import balances_router
from tokenbalance.web.api.events import events_router
from tokenbalance.web.api.grants import grants_router
from tokenbalance.web.api.imports import imports_router
from tokenbalance.web.api.invitations import invitations_router
from tokenbalance.web.api.keys import keys_router
from tokenbalance.web.api.ledger import ledger_router
from tokenbalance.web.api.limits import limits_router
from tokenbalance.web.api.members import members_router
from tokenbalance.web.api.objects import objects_router
from tokenbalance.web.api.projects import projects_router
from tokenbalance.web.api.quote import quote_router
from tokenbalance.web.api.rates import rates_router
from tokenbalance.web.api.refused import refused_router
from tokenbalance.web.api.requests import requests_router
from tokenbalance.web.api.sign_in import sign_in_router
from tokenbalance.web.api.tags import tags_router
from tokenbalance.web.api.teams import teams_router
from tokenbalance.web.api.tokens import tokens_router
from tokenbalance.web.api.transfers import transfers_router
from tokenbalance.web.api.usage import usage_router
from tokenbalance.web.api.users import users_router
from tokenbalance.web.api.webhooks import webhooks_router

if TYPE_CHECKING:
    from fastapi import FastAPI

_ROUTERS: Final = (
    sign_in_router,
    tokens_router,
    users_router,
    imports_router,
    tags_router,
    balances_router,
    grants_router,
    transfers_router,
    teams_router,
    members_router,
    invitations_router,
    projects_router,
    keys_router,
    accounts_router,
    limits_router,
    ledger_router,
    usage_router,
    requests_router,
    refused_router,
    objects_router,
    quote_router,
    rates_router,
    alerts_router,
    webhooks_router,
    events_router,
)


def include_management(app: FastAPI) -> None:
    """Add the management routes below `/api`."""
    for router in _ROUTERS:
        app.include_router(router)
