"""What is left of limits and budgets: of the key that asks, or of one that is named."""

from datetime import datetime
from typing import Annotated, ClassVar, Final

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.model import Json
from tokenbalance.model.limits import (
    ACCOUNT,
    LimitState,
    subject_of_key,
    subject_of_member,
    subject_of_project,
)
from tokenbalance.people.account_limits import get_account
from tokenbalance.people.teams.key_rights import seen_key
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.fields import Number
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

limits_router = api_router("Limits")

_STATE_EXAMPLE: Final[dict[str, Json]] = {
    "subject": "key:3",
    "name": "credits_per_day",
    "unit": "credits",
    "period": "day",
    "amount": 50_000,
    "used": 12_000,
    "reserved": 500,
    "remaining": 37_500,
    "resets_at": "2030-02-01T00:00:00Z",
}


class LimitStateResponse(BaseModel):
    """A limit or budget, and what is left of it."""

    model_config: ClassVar[ConfigDict] = example(**_STATE_EXAMPLE)

    subject: str
    """`key:` and the id of the key; `account`: all its keys together; `member:` and the id of the
    user, or `project:` and its id: all their keys of the team together."""
    name: str
    """The field that has set it, or `budget:` and the name of the budget."""
    unit: str
    """What is counted: `requests`, `tokens`, `credits`, or `holds`: requests in progress."""
    period: str
    """`minute`, `day`, `week`, `month`, `quarter`, `N days`, `open` (in progress) or `ever`."""
    amount: int
    """The limit."""
    used: int
    """In this period; of a rate, what has not been regained yet."""
    reserved: int
    """By requests in progress: the most that they may use."""
    remaining: int
    resets_at: datetime | None
    """When all of it is available again; null: it is already, or never by itself."""


class LimitStatesResponse(BaseModel):
    """What is left of everything that limits a key."""

    model_config: ClassVar[ConfigDict] = example(
        key_id=3, time_zone="Europe/Berlin", data=[_STATE_EXAMPLE]
    )

    key_id: int
    time_zone: str
    """Of the account: where its days, weeks and months begin."""
    data: list[LimitStateResponse]
    """Of the key, then of its member and project, then of its account."""


@limits_router.get("/limits", summary="What is left of limits")
async def limits_left(
    request: Request,
    caller: Authenticated,
    key_id: Annotated[
        Number | None, Query(description="The key; defaults to the one that asks.")
    ] = None,
) -> LimitStatesResponse:
    """Return each limit and budget of a key, its member, project and account, with what is left.

    Without limits the list is empty. Only superusers find keys of other users; in a team, its
    owners, admins and viewers do.
    """
    async with management_of(request).sessions() as session:
        account_id, shown_id = caller.account_id, caller.key_id
        of_team: list[str] = []
        if key_id is not None or caller.is_of_team:
            key = await seen_key(session, caller, shown_id if key_id is None else key_id)
            account_id, shown_id = key.account_id, key.id
            # Of a personal account there are none.
            if key.user_id is not None:
                of_team.append(subject_of_member(key.user_id))
            if key.project_id is not None:
                of_team.append(subject_of_project(key.project_id))
        account = await get_account(session, account_id)
        subjects = (subject_of_key(shown_id), *of_team, ACCOUNT)
        states = await limit_states(session, account_id, subjects)
    return LimitStatesResponse(
        key_id=shown_id,
        time_zone=account.time_zone,
        data=[_response(state) for state in states],
    )


def _response(state: LimitState) -> LimitStateResponse:
    return LimitStateResponse.model_validate(state, from_attributes=True)
