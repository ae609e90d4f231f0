"""Tags: which there are, and everybody who has one credited, disabled or enabled at once."""

from typing import Annotated, ClassVar, TypeAlias

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.books.ledger.credits import NOTE_CHARS_MAX, Cause
from tokenbalance.cohorts.credits import credit_tag
from tokenbalance.people.tags import SetActive, list_tags, set_tag_active
from tokenbalance.web.api.balances import IdempotencyKey
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Superuser
from tokenbalance.web.api.fields import Amount, Text
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

tags_router = api_router("Users")

Tag: TypeAlias = Text


class TagCreditsBody(Body):
    """Credits for everybody who has a tag."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 1000, "note": "week 3"}]}
    )

    amount: Amount = Field(description="Credits for each user; at least 1.")
    note: str = Field(default="", description=f"The reason; at most {NOTE_CHARS_MAX} characters.")


class TagResponse(BaseModel):
    """A tag, and the users who have it."""

    model_config: ClassVar[ConfigDict] = example(tag="cs101", users=200, disabled=0, balance=3100)

    tag: str
    users: int
    disabled: int
    """Of them."""
    balance: int
    """Of all of them together, in credits."""


class TagsResponse(BaseModel):
    """All tags."""

    data: list[TagResponse]


class TagCreditsResponse(BaseModel):
    """What everybody with a tag got."""

    model_config: ClassVar[ConfigDict] = example(users=200, amount=1000, total=200_000)

    users: int
    amount: int
    """Credits for each of them."""
    total: int


class SetActiveResponse(BaseModel):
    """How many users changed."""

    model_config: ClassVar[ConfigDict] = example(changed=200, superusers=1)

    changed: int
    superusers: int
    """Superusers with the tag, who were left as they are."""


@tags_router.get("/tags", summary="List tags")
async def all_tags(request: Request, _caller: Superuser) -> TagsResponse:
    """List all tags that users have, by name."""
    async with management_of(request).sessions() as session:
        rows = await list_tags(session)
    return TagsResponse(
        data=[
            TagResponse(tag=row.name, users=row.users, disabled=row.disabled, balance=row.balance)
            for row in rows
        ]
    )


@tags_router.post(
    "/tags/{tag}/credits", status_code=201, summary="Credit a tag", responses={409: {}}
)
async def credit(
    request: Request,
    _caller: Superuser,
    actor: Acting,
    tag: Tag,
    key: IdempotencyKey,
    body: Annotated[TagCreditsBody, Depends(BodyReader(TagCreditsBody))],
) -> TagCreditsResponse:
    """Add credits to everybody who has a tag, in one transaction: all get them, or nobody.

    Each user gets one entry for each `Idempotency-Key`, so a retry adds nothing, except to who got
    the tag meanwhile. The same key with another amount or note is refused (409).
    """
    async with management_of(request).sessions.begin() as session:
        done = await credit_tag(session, tag, body.amount, Cause(actor, body.note), key)
    return TagCreditsResponse(users=done.users, amount=done.amount, total=done.total)


@tags_router.post("/tags/{tag}/disable", summary="Disable a tag")
async def disable(
    request: Request, _caller: Superuser, actor: Acting, tag: Tag
) -> SetActiveResponse:
    """Disable everybody who has a tag, except superusers, in one transaction.

    Their keys stop working at once, and their sign-in tokens end.
    """
    async with management_of(request).sessions.begin() as session:
        return _changed(await set_tag_active(session, tag, active=False, actor=actor))


@tags_router.post("/tags/{tag}/enable", summary="Enable a tag")
async def enable(
    request: Request, _caller: Superuser, actor: Acting, tag: Tag
) -> SetActiveResponse:
    """Enable everybody who has a tag, except superusers, in one transaction."""
    async with management_of(request).sessions.begin() as session:
        return _changed(await set_tag_active(session, tag, active=True, actor=actor))


def _changed(done: SetActive) -> SetActiveResponse:
    return SetActiveResponse(changed=done.changed, superusers=done.superusers)
