"""What an account has stored upstream: files, responses, conversations and the like."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, TypeAlias

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from tokenbalance.owners.stored import Kind, StoredRow, stored_page
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, SeenTeam, UserId
from tokenbalance.web.api.responses import PageResponse, example, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.seen import seen_by
from tokenbalance.web.context import management_of

objects_router = api_router("Stored objects")

_Kind: TypeAlias = Annotated[Kind | None, Query(description="Only objects of this kind.")]


@dataclass(frozen=True, slots=True)
class _Query:
    """Which objects are listed."""

    kind: _Kind = None
    user_id: UserId = None
    team_id: SeenTeam = None
    limit: Limit = FIRST_PAGE
    after: Cursor = None


_Listing: TypeAlias = Annotated[_Query, Depends()]


class ObjectResponse(BaseModel):
    """An object that is stored upstream."""

    model_config: ClassVar[ConfigDict] = example(
        id="file-abc123",
        kind="file",
        name="report.pdf",
        bytes=120000,
        state="processed",
        created_at="2030-01-31T12:00:00Z",
        expires_at=None,
    )

    id: str
    kind: str
    name: str
    """As it is called, or the model that made it; empty if neither is known."""
    bytes: int | None
    """Its size; null if it is not known."""
    state: str | None
    """The upstream's status of it, as it was seen last."""
    created_at: datetime
    """When it became the user's."""
    expires_at: datetime | None


@objects_router.get("/objects", summary="Stored objects")
async def list_objects(
    request: Request,
    caller: Authenticated,
    listing: _Listing,
) -> PageResponse[ObjectResponse]:
    """List what your requests, or a team's, have stored upstream; superusers may name a user.

    Newest first. Parts of other objects, such as the items of a conversation, are left out. To
    delete an object, use the endpoint of its kind under `/v1`. All keys of a team use what one of
    them has stored.
    """
    async with management_of(request).sessions() as session:
        seen = await seen_by(session, caller, listing.user_id, listing.team_id)
        page = await stored_page(
            session, seen.account_id, listing.kind, listing.after, listing.limit, seen.key_ids
        )
    return page_response(page, _response)


def _response(row: StoredRow) -> ObjectResponse:
    return ObjectResponse(
        id=row.id,
        kind=row.kind,
        name=row.name,
        bytes=row.size,
        state=row.state,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
