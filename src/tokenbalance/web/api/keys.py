"""API keys: list, create, change, revoke, rotate; for their owners and for superusers."""

from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.model import Json
from tokenbalance.people.keys import (
    KEY_NAME_CHARS_MAX,
    KeyChanges,
    change_key,
    create_key,
    keys_page,
    revoke_key,
    rotate_key,
)
from tokenbalance.people.limits import LIMIT_MAX, KeyLimits
from tokenbalance.people.rows import KeyRow
from tokenbalance.web.api.bodies import Body, BodyReader, ChangesBody
from tokenbalance.web.api.callers import Acting, Authenticated
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Id, Limit, Moment, Number, UserId
from tokenbalance.web.api.responses import PageResponse, example, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.subjects import account_of, account_seen_by
from tokenbalance.web.context import management_of

keys_router = api_router("Keys")

_Limit = Annotated[int | None, Field(ge=1, le=LIMIT_MAX)]
StatusChoice: TypeAlias = Literal[402, 429]
"""`people.keys.STATUS_CHOICES`, as a type."""
_Status: TypeAlias = StatusChoice | None
_NAME: Final = f"At most {KEY_NAME_CHARS_MAX} characters."
_STATUS: Final = (
    "The status of a request that the balance does not cover, for programs that support only one"
    " of them; null: the server's default."
)
_LIMITS_EXAMPLE: Final[dict[str, Json]] = {
    "requests_per_minute": 60,
    "tokens_per_minute": None,
    "parallel_requests": None,
    "credits_total": 100_000,
    "models": ["gpt-4o-*"],
}
_KEY_EXAMPLE: Final[dict[str, Json]] = {
    "id": 3,
    "prefix": "sk-tb-Ab12Cd",
    "name": "laptop",
    "created_at": "2030-01-31T12:00:00Z",
    "expires_at": "2031-01-31T00:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
    "insufficient_status": 429,
    **_LIMITS_EXAMPLE,
}


class NewKey(Body):
    """A key to create. A missing limit is no limit."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "laptop", "expires_at": "2031-01-31", "credits_total": 100_000}]
        }
    )

    name: str = Field(default="", description=_NAME)
    expires_at: Moment | None = Field(default=None, description="A time in the future, ISO 8601.")
    user_id: Id | None = Field(
        default=None, description="The owner; defaults to you. Other users: superusers only."
    )
    insufficient_status: _Status = Field(default=None, description=_STATUS)
    requests_per_minute: _Limit = None
    tokens_per_minute: _Limit = None
    parallel_requests: _Limit = None
    credits_total: _Limit = Field(default=None, description="Over the lifetime of the key.")
    models: list[str] | None = Field(
        default=None, description="Patterns; the name of the model must match one of them."
    )

    def limits(self) -> KeyLimits:
        """Return the limits.

        Raises:
            InvalidLimit: one of them is not valid.

        """
        return KeyLimits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            parallel_requests=self.parallel_requests,
            credits_total=self.credits_total,
            models=None if self.models is None else tuple(self.models),
        )


class ChangedKey(ChangesBody):
    """Changes of a key. A missing field stays as it is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"insufficient_status": 429}]}
    )

    name: str = Field(default="", description=_NAME)
    expires_at: Moment | None = Field(
        default=None, description="A time in the future, ISO 8601; null: never."
    )
    insufficient_status: _Status = Field(default=None, description=_STATUS)

    def changes(self) -> KeyChanges:
        """Return the given fields only."""
        changes = KeyChanges()
        if "name" in self.model_fields_set:
            changes["name"] = self.name
        if "expires_at" in self.model_fields_set:
            changes["expires_at"] = self.expires_at
        if "insufficient_status" in self.model_fields_set:
            changes["insufficient_status"] = self.insufficient_status
        return changes


class KeyResponse(BaseModel):
    """A key without its secret."""

    model_config: ClassVar[ConfigDict] = example(**_KEY_EXAMPLE)

    id: int
    prefix: str
    """The beginning of the secret, to tell keys apart."""
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    insufficient_status: int | None
    """Of requests that the balance does not cover, 402 or 429; null: the server's default."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_requests: int | None = None
    credits_total: int | None = None
    models: list[str] | None = None


class NewKeyResponse(KeyResponse):
    """A key with its secret, which cannot be shown again."""

    model_config: ClassVar[ConfigDict] = example(**_KEY_EXAMPLE, key="sk-tb-Ab12Cd...")

    key: str


@keys_router.get("/keys", summary="List keys")
async def list_keys(
    request: Request,
    caller: Authenticated,
    user_id: UserId = None,
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[KeyResponse]:
    """List your keys, including revoked and expired ones; a superuser may name another user.

    Sign-in tokens are not included.
    """
    async with management_of(request).sessions() as session:
        account_id = await account_of(session, caller, user_id)
        return page_response(await keys_page(session, account_id, after, limit), _key_response)


@keys_router.post("/keys", status_code=201, summary="Create a key")
async def create(
    request: Request,
    caller: Authenticated,
    actor: Acting,
    body: Annotated[NewKey, Depends(BodyReader(NewKey))],
) -> NewKeyResponse:
    """Create a key; the response is the only one with its secret.

    Limits are stored and shown, but not enforced yet. A key of a disabled user works after the user
    is enabled again.
    """
    limits = body.limits()
    async with management_of(request).sessions.begin() as session:
        account_id = await account_of(session, caller, body.user_id)
        key, secret = await create_key(
            session,
            account_id,
            name=body.name,
            expires_at=body.expires_at,
            limits=limits,
            insufficient_status=body.insufficient_status,
            actor=actor,
        )
    return _new_key_response(key, secret)


@keys_router.patch("/keys/{key_id}", summary="Change a key")
async def change(
    request: Request,
    caller: Authenticated,
    actor: Acting,
    key_id: Number,
    body: Annotated[ChangedKey, Depends(BodyReader(ChangedKey))],
) -> KeyResponse:
    """Change a key's name, its expiry, or the status of requests that the balance does not cover.

    Its secret keeps working. A revoked or expired key is refused (400). Only superusers find keys
    of other users.
    """
    async with management_of(request).sessions.begin() as session:
        seen = account_seen_by(caller)
        key = await change_key(session, key_id, seen, actor=actor, **body.changes())
        return _key_response(key)


@keys_router.delete("/keys/{key_id}", summary="Revoke a key")
async def revoke(
    request: Request, caller: Authenticated, actor: Acting, key_id: Number
) -> KeyResponse:
    """Revoke a key, at once and permanently. Revoking it again changes nothing.

    Only superusers find keys of other users.
    """
    async with management_of(request).sessions.begin() as session:
        return _key_response(await revoke_key(session, key_id, account_seen_by(caller), actor))


@keys_router.post("/keys/{key_id}/rotate", summary="Rotate a key")
async def rotate(
    request: Request, caller: Authenticated, actor: Acting, key_id: Number
) -> NewKeyResponse:
    """Give a key a new secret; the old one stops working at once.

    The response is the only one with the new secret. Id, name, limits and history stay. A revoked
    or expired key is refused (400).
    """
    async with management_of(request).sessions.begin() as session:
        key, secret = await rotate_key(session, key_id, account_seen_by(caller), actor)
    return _new_key_response(key, secret)


def _key_response(key: KeyRow) -> KeyResponse:
    return KeyResponse.model_validate(
        {
            "id": key.id,
            "prefix": key.prefix,
            "name": key.name,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "last_used_at": key.last_used_at,
            "insufficient_status": key.insufficient_status,
            **key.limits.as_document(),
        }
    )


def _new_key_response(key: KeyRow, secret: str) -> NewKeyResponse:
    return NewKeyResponse.model_validate({**_key_response(key).model_dump(), "key": secret})
