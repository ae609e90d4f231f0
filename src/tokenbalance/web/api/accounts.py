"""Accounts: what limits all keys of one together, its time zone, and its budgets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.database.connections import Session
from tokenbalance.model import Caller, Json
from tokenbalance.people.access import Standing, asking_key, sees_everything
from tokenbalance.people.account_limits import (
    UnknownAccount,
    change_account_limits,
    get_account,
)
from tokenbalance.people.budget_rows import DAYS_MAX, NAME_CHARS_MAX, Budget
from tokenbalance.people.budgets import add_budget, change_budget, list_budgets, remove_budget
from tokenbalance.people.key_lists import list_keys
from tokenbalance.people.limits import LIMIT_MAX
from tokenbalance.people.rows import AccountRow
from tokenbalance.people.teams.errors import UnknownTeam
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.web.api.bodies import Body, BodyReader, ChangesBody
from tokenbalance.web.api.callers import Acting, Authenticated, Managing, Superuser
from tokenbalance.web.api.fields import Id, Moment, Number
from tokenbalance.web.api.limit_bodies import LIMITS_EXAMPLE, LimitsBody, LimitsShown
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

accounts_router = api_router("Limits")

_ZONE: Final = "IANA name, such as `Europe/Berlin`: where its days, weeks and months begin."
_NAME: Final = f"At most {NAME_CHARS_MAX} characters; no other budget of the same subject has it."
_BUDGET_EXAMPLE: Final[dict[str, Json]] = {
    "id": 5,
    "account_id": 7,
    "key_id": None,
    "member_id": None,
    "project_id": None,
    "name": "course",
    "unit": "credits",
    "amount": 20_000,
    "every": "week",
    "anchor": None,
    "created_at": "2030-01-31T12:00:00Z",
}


class AccountLimits(LimitsBody, ChangesBody):
    """Changes of the limits of an account. A missing field stays as it is; null: no limit."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"credits_per_day": 50_000, "time_zone": "Europe/Berlin"}]}
    )

    time_zone: str = Field(default="UTC", description=_ZONE)


class AccountLimitsResponse(LimitsShown):
    """What limits all keys of an account together."""

    model_config: ClassVar[ConfigDict] = example(
        account_id=7, user_id=7, time_zone="Europe/Berlin", **LIMITS_EXAMPLE
    )

    account_id: int
    user_id: int | None
    """Whose it is; null: a team's."""
    time_zone: str
    """IANA name: where its days, weeks and months begin."""


class NewBudget(Body):
    """A budget to add."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 20_000, "every": "week", "name": "course"}]}
    )

    amount: int = Field(ge=1, le=LIMIT_MAX, description="Credits, or tokens, in each period.")
    every: str = Field(
        description="`day`, `week` (from Monday on), `month` or `quarter`, in the account's time"
        f" zone, or a number of days up to {DAYS_MAX:,}, such as `14 days`."
    )
    name: str | None = Field(default=None, description=f"{_NAME} Defaults to the period.")
    unit: Literal["credits", "tokens"] = Field(default="credits")
    anchor: Moment | None = Field(
        default=None,
        description="When the first period of a number of days begins; defaults to today.",
    )
    key_id: Id | None = Field(
        default=None,
        description="Only of this key; if nothing is named, of all keys of the account together,"
        " which for a personal account only a superuser may set.",
    )
    member_id: Id | None = Field(
        default=None,
        description="Only of all keys together that this user has of the team.",
    )
    project_id: Id | None = Field(
        default=None, description="Only of all keys of this project of the team together."
    )


class ChangedBudget(ChangesBody):
    """Changes of a budget. What is used of it stays used."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 30_000}]}
    )

    amount: int = Field(default=1, ge=1, le=LIMIT_MAX, description="Credits, or tokens.")
    name: str = Field(default="", description=_NAME)


class BudgetResponse(BaseModel):
    """A cap on what a key, or all keys of a member, project or account, use in each period."""

    model_config: ClassVar[ConfigDict] = example(**_BUDGET_EXAMPLE)

    id: int
    account_id: int
    key_id: int | None
    """Where all three are null: of all keys of the account together."""
    member_id: int | None
    """The user: of all keys together that this member has of the team."""
    project_id: int | None
    """Of all keys of this project together."""
    name: str
    unit: str
    amount: int
    every: str
    anchor: datetime | None
    created_at: datetime


class BudgetsResponse(BaseModel):
    """Budgets of an account, and of its keys, members and projects."""

    model_config: ClassVar[ConfigDict] = example(data=[_BUDGET_EXAMPLE])

    data: list[BudgetResponse]


@accounts_router.get("/accounts/{account_id}/limits", summary="Limits of an account")
async def limits_of(
    request: Request, caller: Authenticated, account_id: Number
) -> AccountLimitsResponse:
    """Return what limits all keys of your account together, or of a team of yours.

    Superusers find every account.
    """
    async with management_of(request).sessions() as session:
        _ = await _seen(session, caller, account_id)
        return _limits(await get_account(session, account_id))


@accounts_router.patch("/accounts/{account_id}/limits", summary="Change limits of an account")
async def change_limits(
    request: Request,
    _caller: Superuser,
    actor: Acting,
    account_id: Number,
    body: Annotated[AccountLimits, Depends(BodyReader(AccountLimits))],
) -> AccountLimitsResponse:
    """Change what limits all keys of an account together, or its time zone.

    It binds requests from now on. What has been used stays used. With another time zone, periods
    that have begun end as they would have.
    """
    time_zone = body.time_zone if "time_zone" in body.model_fields_set else None
    async with management_of(request).sessions.begin() as session:
        account = await change_account_limits(
            session, account_id, body.limit_changes(), time_zone, actor=actor
        )
    return _limits(account)


@accounts_router.get("/accounts/{account_id}/budgets", summary="Budgets of an account")
async def budgets_of(
    request: Request, caller: Authenticated, account_id: Number
) -> BudgetsResponse:
    """List the budgets of your account, or of a team of yours, and of what belongs to it.

    Members of a team see those that bind their own keys. Superusers find every account. What is
    left of them is in `GET /api/limits`.
    """
    async with management_of(request).sessions() as session:
        standing = await _seen(session, caller, account_id)
        found = await list_budgets(session, account_id)
        if caller.is_of_team or not (standing is None or standing.may("see_all")):
            found = await _binding(session, caller, account_id, found)
    return BudgetsResponse(data=[_budget(budget) for budget in found])


@accounts_router.post(
    "/accounts/{account_id}/budgets",
    status_code=201,
    summary="Add a budget",
    responses={403: {}},
)
async def add(
    request: Request,
    caller: Managing,
    actor: Acting,
    account_id: Number,
    body: Annotated[NewBudget, Depends(BodyReader(NewBudget))],
) -> BudgetResponse:
    """Add a budget, of which nothing is used yet.

    To a key of yours; as an owner or admin to a team, and to its keys, members and projects; as a
    superuser to any. All budgets and limits of a key, its member, project and account must allow a
    request.
    """
    async with management_of(request).sessions.begin() as session:
        await _require_budgets(session, caller, account_id)
        budget = await add_budget(
            session,
            account_id,
            amount=body.amount,
            every=body.every,
            name=body.name,
            unit=body.unit,
            anchor=body.anchor,
            key_id=body.key_id,
            member_id=body.member_id,
            project_id=body.project_id,
            by_superuser=sees_everything(caller),
            actor=actor,
        )
    return _budget(budget)


@accounts_router.patch(
    "/accounts/{account_id}/budgets/{budget_id}", summary="Change a budget", responses={403: {}}
)
async def change(  # noqa: PLR0913, PLR0917 - what the path, the key and the body say
    request: Request,
    caller: Managing,
    actor: Acting,
    account_id: Number,
    budget_id: Number,
    body: Annotated[ChangedBudget, Depends(BodyReader(ChangedBudget))],
) -> BudgetResponse:
    """Change the amount or the name of a budget; what is used of it stays used.

    A budget that a superuser has set is changed by superusers only (403), others of a team by its
    owners and admins. A key that has budgets of its own cannot change any (403).
    """
    given = body.model_fields_set
    async with management_of(request).sessions.begin() as session:
        await _require_budgets(session, caller, account_id)
        budget = await change_budget(
            session,
            account_id,
            budget_id,
            amount=body.amount if "amount" in given else None,
            name=body.name if "name" in given else None,
            by_superuser=sees_everything(caller),
            by_key_id=asking_key(caller),
            actor=actor,
        )
    return _budget(budget)


@accounts_router.delete(
    "/accounts/{account_id}/budgets/{budget_id}", summary="Remove a budget", responses={403: {}}
)
async def remove(
    request: Request, caller: Managing, actor: Acting, account_id: Number, budget_id: Number
) -> BudgetResponse:
    """Remove a budget, and return it. Who may is as for a change."""
    async with management_of(request).sessions.begin() as session:
        await _require_budgets(session, caller, account_id)
        budget = await remove_budget(
            session,
            account_id,
            budget_id,
            by_superuser=sees_everything(caller),
            by_key_id=asking_key(caller),
            actor=actor,
        )
    return _budget(budget)


async def _seen(session: Session, caller: Caller, account_id: int) -> Standing | None:
    """Return what the caller is in a team; None: it is the own account, or any for a superuser.

    Raises:
        UnknownAccount: the caller has nothing to do with the account.

    """
    if account_id == caller.account_id:
        return None
    if sees_everything(caller):
        _ = await get_account(session, account_id)
        return None
    try:
        return await standing_in(session, caller, account_id)
    except UnknownTeam:
        raise UnknownAccount(account_id) from None


async def _require_budgets(session: Session, caller: Caller, account_id: int) -> None:
    """Require that the caller may change budgets of an account; a team is locked.

    Raises:
        UnknownAccount: the caller has nothing to do with the account.
        NotAllowed: it is a team that the caller does not administer.

    """
    if await _seen(session, caller, account_id) is not None:
        (await acting_in(session, caller, account_id)).require("administer")


async def _binding(
    session: Session, caller: Caller, account_id: int, budgets: Sequence[Budget]
) -> Sequence[Budget]:
    """Return those budgets of a team that bind the caller's own keys."""
    own = {caller.key_id}
    if not caller.is_of_team:
        keys = await list_keys(session, account_id)
        own.update(key.id for key in keys if key.user_id == caller.user_id)
    return [
        budget
        for budget in budgets
        if (budget.key_id is None or budget.key_id in own)
        and (budget.member_id is None or budget.member_id == caller.user_id)
    ]


def _limits(account: AccountRow) -> AccountLimitsResponse:
    return AccountLimitsResponse.model_validate(
        {
            "account_id": account.id,
            "user_id": account.user_id,
            "time_zone": account.time_zone,
            **account.limits.as_document(),
        }
    )


def _budget(budget: Budget) -> BudgetResponse:
    return BudgetResponse.model_validate(budget, from_attributes=True)
