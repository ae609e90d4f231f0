"""Bodies of the requests and responses about API keys."""

from datetime import datetime
from typing import ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.model import Json, Scope
from tokenbalance.people.end_users import limits_of_each
from tokenbalance.people.key_changes import KeyChanges
from tokenbalance.people.key_ends import Revoked
from tokenbalance.people.key_fields import KEY_NAME_CHARS_MAX
from tokenbalance.people.rows import KeyRow
from tokenbalance.web.api.bodies import Body, ChangesBody
from tokenbalance.web.api.fields import Id, Moment
from tokenbalance.web.api.limit_bodies import LIMITS_EXAMPLE, LimitsBody, LimitsShown
from tokenbalance.web.api.responses import example

StatusChoice: TypeAlias = Literal[402, 429]
"""`people.keys.STATUS_CHOICES`, as a type."""
_Status: TypeAlias = StatusChoice | None
_NAME: Final = f"At most {KEY_NAME_CHARS_MAX} characters."
_STORE: Final = (
    "Whether its responses and chats are sent with `store: false`, whatever they ask for."
)
_STATUS: Final = (
    "The status of a request that the balance does not cover, for programs that support only one"
    " of them; null: the server's default."
)
_SOURCE: Final = (
    "Where a request names the end user on whose behalf it is sent: `header:` and the name of a"
    " header, `user` or `safety_identifier`; null: nowhere."
)
_OF_EACH: Final = "Limits of each end user, by name, such as `credits_per_day`."
_SCOPES: Final = (
    "What the key may be used for: `inference` (requests to models), `read` (reading your own"
    " account only) and `manage` (changing what you may change). A key cannot give what it does not"
    " have."
)
_KEY_EXAMPLE: Final[dict[str, Json]] = {
    "id": 3,
    "prefix": "sk-tb-Ab12Cd",
    "name": "laptop",
    "created_at": "2030-01-31T12:00:00Z",
    "expires_at": "2031-01-31T00:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
    "insufficient_status": 429,
    "force_store_false": False,
    "scopes": ["inference"],
    "made_by_key_id": None,
    "user_id": 7,
    "team_id": None,
    "project_id": None,
    "is_suspended": False,
    "sub_account_from": None,
    "sub_account_limits": {},
    **LIMITS_EXAMPLE,
}


class KeyFields(LimitsBody):
    """What is said of every new key."""

    name: str = Field(default="", description=_NAME)
    expires_at: Moment | None = Field(default=None, description="A time in the future, ISO 8601.")
    project_id: Id | None = Field(
        default=None, description="Of a team's key: the project that it belongs to."
    )
    scopes: list[Scope] | None = Field(
        default=None,
        description=f"{_SCOPES} Defaults to those of the calling key, and to all with a sign-in"
        " token. A key of a team cannot have `manage`.",
    )
    insufficient_status: _Status = Field(default=None, description=_STATUS)
    force_store_false: bool = Field(default=False, description=_STORE)
    sub_account_from: str | None = Field(default=None, description=_SOURCE)
    sub_account_limits: dict[str, int | list[str]] = Field(default={}, description=_OF_EACH)


class NewKey(KeyFields):
    """A key to create. A missing limit is no limit.

    If the caller is a key, each limit is the tighter of both, and the expiry the earlier.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "laptop",
                    "scopes": ["inference"],
                    "expires_at": "2031-01-31",
                    "credits_total": 100_000,
                }
            ]
        }
    )

    user_id: Id | None = Field(
        default=None,
        description="The owner; defaults to you. Other users: superusers, and in a team its owners"
        " and admins.",
    )
    team_id: Id | None = Field(
        default=None, description="The team that pays; null: the personal account."
    )


class NewTeamKey(KeyFields):
    """A key of a team to create. A missing limit is no limit."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"name": "nightly build", "service": True}]}
    )

    user_id: Id | None = Field(
        default=None,
        description="The member who answers for it, without whom it does not work; defaults to you."
        " Others: owners and admins of the team.",
    )
    service: bool = Field(
        default=False,
        description="Nobody answers for it: it stays when members leave. Owners and admins only.",
    )


class ChangedKey(LimitsBody, ChangesBody):
    """Changes of a key. A missing field stays as it is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"insufficient_status": 429}]}
    )

    name: str = Field(default="", description=_NAME)
    expires_at: Moment | None = Field(
        default=None, description="A time in the future, ISO 8601; null: never."
    )
    insufficient_status: _Status = Field(default=None, description=_STATUS)
    force_store_false: bool = Field(default=False, description=_STORE)
    scopes: list[Scope] = Field(default=[], description=_SCOPES)
    sub_account_from: str | None = Field(default=None, description=_SOURCE)
    sub_account_limits: dict[str, int | list[str]] = Field(default={}, description=_OF_EACH)

    def changes(self) -> KeyChanges:
        """Return the given fields only.

        Raises:
            InvalidLimit: a limit is not valid.

        """
        changes = KeyChanges()
        if "name" in self.model_fields_set:
            changes["name"] = self.name
        if "expires_at" in self.model_fields_set:
            changes["expires_at"] = self.expires_at
        if "insufficient_status" in self.model_fields_set:
            changes["insufficient_status"] = self.insufficient_status
        if "force_store_false" in self.model_fields_set:
            changes["force_store_false"] = self.force_store_false
        if "scopes" in self.model_fields_set:
            changes["scopes"] = self.scopes
        limits = self.limit_changes()
        if limits:
            changes["limits"] = limits
        if "sub_account_from" in self.model_fields_set:
            changes["sub_account_from"] = self.sub_account_from
        if "sub_account_limits" in self.model_fields_set:
            changes["sub_account_limits"] = limits_of_each(self.sub_account_limits)
        return changes


class AllKeys(Body):
    """Whose keys end."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"tokens": False}]}
    )

    user_id: Id | None = Field(
        default=None, description="The owner; defaults to you. Other users: superusers only."
    )
    tokens: bool = Field(default=False, description="End all sign-in tokens as well.")


class KeyResponse(LimitsShown):
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
    force_store_false: bool
    """Its responses and chats are sent with `store: false`, whatever they ask for."""
    scopes: list[Scope]
    """What it may be used for."""
    made_by_key_id: int | None
    """The key with which it was made, with which it ends; null if a person made it."""
    user_id: int | None
    """Who answers for it; null: nobody, it is a service key of a team."""
    team_id: int | None
    """Who pays; null: the personal account of its user."""
    project_id: int | None
    is_suspended: bool
    """Refused for now: its member is disabled or a viewer, its project is archived, or its team was
    deleted."""
    sub_account_from: str | None
    """Where a request names the end user on whose behalf it is sent; null: nowhere."""
    sub_account_limits: dict[str, int | list[str]]
    """Of each end user."""


class NewKeyResponse(KeyResponse):
    """A key with its secret, which cannot be shown again."""

    model_config: ClassVar[ConfigDict] = example(**_KEY_EXAMPLE, key="sk-tb-Ab12Cd...")

    key: str


class RevokedKeyResponse(KeyResponse):
    """A key that was revoked."""

    model_config: ClassVar[ConfigDict] = example(
        **{**_KEY_EXAMPLE, "revoked_at": "2030-02-01T12:00:00Z"}, revoked_with_it=0
    )

    revoked_with_it: int
    """How many working keys that were made with it were revoked with it."""


class RevokedKeysResponse(BaseModel):
    """How many keys were revoked."""

    model_config: ClassVar[ConfigDict] = example(revoked=3)

    revoked: int
    """Of those that worked: the user's, and keys of others that were made with them."""


def key_response(key: KeyRow, team_id: int | None) -> KeyResponse:
    """Build the response about a key, which may be a team's."""
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
            "force_store_false": key.force_store_false,
            "scopes": list(key.scopes),
            "made_by_key_id": key.made_by_key_id,
            "user_id": key.user_id,
            "team_id": team_id,
            "project_id": key.project_id,
            "is_suspended": key.is_suspended,
            "sub_account_from": key.sub_account_from,
            "sub_account_limits": key.sub_account_limits.as_document(),
            **key.limits.as_document(),
        }
    )


def new_key_response(key: KeyRow, team_id: int | None, secret: str) -> NewKeyResponse:
    """Build the response about a key with its secret."""
    fields = key_response(key, team_id).model_dump()
    return NewKeyResponse.model_validate({**fields, "key": secret})


def revoked_key_response(revoked: Revoked, team_id: int | None) -> RevokedKeyResponse:
    """Build the response about a revoked key."""
    fields = key_response(revoked.key, team_id).model_dump()
    return RevokedKeyResponse.model_validate({**fields, "revoked_with_it": revoked.with_it})
