"""Response bodies of the management routes, and the functions that build them from rows.

They contain no secret except a new one.
"""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from tokenbalance.books.grants.calendar import Every

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenbalance.books.grants.allowances import AllowanceRow
    from tokenbalance.books.grants.issuing import GrantRow
    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.books.reports import EntryRow, KeyRef
    from tokenbalance.database.paging import Page
    from tokenbalance.model import Json
    from tokenbalance.people.rows import AccountRow, UserRow

Row = TypeVar("Row")
Source = TypeVar("Source")


def example(**fields: Json) -> ConfigDict:
    """Configure a model with an example for the documentation."""
    return ConfigDict(frozen=True, json_schema_extra={"examples": [fields]})


FUNDS_EXAMPLE: Final[dict[str, Json]] = {"balance": 30, "held": 12, "available": 18}
PERSON_EXAMPLE: Final[dict[str, Json]] = {"id": 7, "email": "ada@example.com", "name": "Ada"}
ENTRY_EXAMPLE: Final[dict[str, Json]] = {
    "id": 41,
    "kind": "top-up",
    "amount": 1000,
    "balance_after": 1030,
    "request_id": None,
    "actor": "admin@example.com",
    "note": "May",
    "estimated": False,
    "created_at": "2030-01-31T12:00:00Z",
}
WHOSE_EXAMPLE: Final[dict[str, Json]] = {
    "user": 7,
    "email": "ada@example.com",
    "team": "",
    "account_id": 7,
}

_TOKEN_EXAMPLE: Final[dict[str, Json]] = {
    "token": "tb-Zy98Xw...",
    "expires_at": "2030-03-02T12:00:00Z",
}


class PageResponse(BaseModel, Generic[Row]):
    """A page of a list."""

    data: list[Row]
    has_more: bool
    """There are more rows."""
    next: str | None
    """The `after` of the next page; null if this is the last."""


class CreatedUser(BaseModel):
    """A new user."""

    model_config: ClassVar[ConfigDict] = example(**PERSON_EXAMPLE)

    id: int
    email: str
    name: str


class Me(BaseModel):
    """The caller."""

    model_config: ClassVar[ConfigDict] = example(**PERSON_EXAMPLE, is_superuser=False)

    id: int
    email: str
    name: str
    is_superuser: bool


class UserResponse(BaseModel):
    """A user with their balance."""

    model_config: ClassVar[ConfigDict] = example(
        **PERSON_EXAMPLE,
        is_superuser=False,
        is_active=True,
        tags=["cs101"],
        **FUNDS_EXAMPLE,
        account_id=7,
        time_zone="UTC",
        limits={"credits_per_day": 50_000},
    )

    id: int
    email: str
    name: str
    is_superuser: bool
    is_active: bool
    tags: list[str]
    """Sorted, each once."""
    balance: int
    held: int
    available: int
    account_id: int
    time_zone: str
    """IANA name: where the account's days, weeks and months begin."""
    limits: dict[str, int | list[str]]
    """Of all keys together; those that are set."""


class RemainingResponse(BaseModel):
    """What remains of a grant."""

    remaining: int
    expires_at: datetime | None
    """When it ends; null: never."""


class NextAllowanceResponse(BaseModel):
    """Credits that an allowance will issue."""

    amount: int
    at: datetime
    every: Every


class BalanceResponse(BaseModel):
    """A user's balance, what open holds reserve of it, and what is available."""

    model_config: ClassVar[ConfigDict] = example(user=7, **FUNDS_EXAMPLE)

    user: int
    """The user's id."""
    balance: int
    held: int
    available: int
    """For new requests: `balance` - `held` + `overdraft`."""
    overdraft: int = 0
    """How far below zero requests may take the balance; left out if 0."""
    grants: list[RemainingResponse] = []
    """What the balance consists of, first what is spent first; left out if nothing of it ends."""
    next: NextAllowanceResponse | None = None
    """When more credits come; left out if there is no allowance."""


class AccountBalanceResponse(BaseModel):
    """The balance of a user's account or a team, and what is available of it."""

    model_config: ClassVar[ConfigDict] = example(account_id=9, team="Research", **FUNDS_EXAMPLE)

    account_id: int
    team: str
    """The team's name; empty: it is a user's account."""
    balance: int
    held: int
    available: int
    """For new requests: `balance` - `held` + `overdraft`."""
    overdraft: int = 0
    """How far below zero requests may take the balance; left out if 0."""
    grants: list[RemainingResponse] = []
    """What the balance consists of, first what is spent first; left out if nothing of it ends."""
    next: NextAllowanceResponse | None = None
    """When more credits come; left out if there is no allowance."""


class ChangedAccountBalanceResponse(AccountBalanceResponse):
    """An account's balance after it was set."""

    model_config: ClassVar[ConfigDict] = example(account_id=9, team="Research", **FUNDS_EXAMPLE)

    kept_for_holds: int = 0
    """Credits that were not taken because requests in flight hold them; left out if 0."""


class ChangedBalanceResponse(BalanceResponse):
    """A user's balance after it was set."""

    model_config: ClassVar[ConfigDict] = example(user=7, **FUNDS_EXAMPLE)

    kept_for_holds: int = 0
    """Credits that were not taken because requests in flight hold them; left out if 0."""


class EntryResponse(BaseModel):
    """One change of a balance."""

    model_config: ClassVar[ConfigDict] = example(**ENTRY_EXAMPLE)

    id: int
    kind: str
    amount: int
    balance_after: int
    request_id: str | None
    actor: str
    note: str
    estimated: bool
    created_at: datetime


class WhoseResponse(BaseModel):
    """Whose something is."""

    user: int | None
    """The id of who answers for the key, else of the account's user; null: nobody, in a team."""
    email: str
    """Theirs; empty if nobody does."""
    team: str
    """The name of the team that pays; empty: a personal account."""
    account_id: int


class OwnedEntryResponse(WhoseResponse, EntryResponse):
    """One change of a balance, and whose balance it is."""

    model_config: ClassVar[ConfigDict] = example(**ENTRY_EXAMPLE, **WHOSE_EXAMPLE)


class CreditsResponse(BaseModel):
    """A new entry, and the balance after it."""

    model_config: ClassVar[ConfigDict] = example(entry=ENTRY_EXAMPLE, balance=1030)

    entry: EntryResponse
    balance: int
    """Right after the entry, also in the response to a retry."""
    kept_for_holds: int = 0
    """Credits that were not taken because requests in flight hold them; left out if 0."""


class TokenResponse(BaseModel):
    """A sign-in token; it cannot be shown again."""

    model_config: ClassVar[ConfigDict] = example(**_TOKEN_EXAMPLE)

    token: str
    expires_at: datetime


class KeyRefResponse(BaseModel):
    """A key in brief."""

    id: int
    prefix: str
    """The beginning of its secret, to tell keys apart."""
    name: str
    kind: str
    """`key`, or `sign-in` for a sign-in token."""


def page_response(page: Page[Source], row: Callable[[Source], Row]) -> PageResponse[Row]:
    """Build the response for a page."""
    rows: Sequence[Row] = [row(found) for found in page.data]
    return PageResponse(data=list(rows), has_more=page.has_more, next=page.next)


def user_response(user: UserRow) -> UserResponse:
    """Build the response for a user."""
    return UserResponse(
        id=user.id,
        email=user.email,
        name=user.name,
        is_superuser=user.is_superuser,
        is_active=user.is_active,
        tags=list(user.tags),
        balance=user.account.balance,
        held=user.account.held,
        available=user.account.available,
        account_id=user.account.id,
        time_zone=user.account.time_zone,
        limits=cast("dict[str, int | list[str]]", user.account.limits.as_document()),
    )


def balance_response(
    user: UserRow, grants: Sequence[GrantRow] = (), allowances: Sequence[AllowanceRow] = ()
) -> BalanceResponse:
    """Build the response for a balance, which may consist of grants."""
    return BalanceResponse(
        user=user.id,
        balance=user.account.balance,
        held=user.account.held,
        available=user.account.available,
        overdraft=user.account.overdraft,
        grants=_grants(grants),
        next=_next(allowances),
    )


def account_balance_response(
    account: AccountRow, grants: Sequence[GrantRow], allowances: Sequence[AllowanceRow]
) -> AccountBalanceResponse:
    """Build the response for the balance of any account, which may consist of grants."""
    return AccountBalanceResponse(
        account_id=account.id,
        team=account.name,
        balance=account.balance,
        held=account.held,
        available=account.available,
        overdraft=account.overdraft,
        grants=_grants(grants),
        next=_next(allowances),
    )


def changed_account_balance_response(
    account: AccountRow, kept_for_holds: int
) -> ChangedAccountBalanceResponse:
    """Build the response for the balance of any account that was set."""
    return ChangedAccountBalanceResponse(
        account_id=account.id,
        team=account.name,
        balance=account.balance,
        held=account.held,
        available=account.available,
        overdraft=account.overdraft,
        kept_for_holds=kept_for_holds,
    )


def _grants(grants: Sequence[GrantRow]) -> list[RemainingResponse]:
    return [
        RemainingResponse(remaining=grant.remaining, expires_at=grant.expires_at)
        for grant in grants
    ]


def _next(allowances: Sequence[AllowanceRow]) -> NextAllowanceResponse | None:
    coming = [(row.next_at, row) for row in allowances if row.next_at is not None]
    if not coming:
        return None
    at, row = min(coming, key=itemgetter(0))
    return NextAllowanceResponse(amount=row.amount, at=at, every=row.every)


def changed_balance_response(user: UserRow, entry: Entry) -> ChangedBalanceResponse:
    """Build the response for a balance that an entry has changed."""
    account = user.account
    return ChangedBalanceResponse(
        user=user.id,
        balance=account.balance,
        held=account.held,
        available=account.available,
        overdraft=account.overdraft,
        kept_for_holds=entry.kept_for_holds,
    )


def key_ref_response(key: KeyRef | None) -> KeyRefResponse | None:
    """Build the reference to a key."""
    if key is None:
        return None
    return KeyRefResponse(id=key.id, prefix=key.prefix, name=key.name, kind=key.kind)


def owned_entry_response(entry: EntryRow) -> OwnedEntryResponse:
    """Build the response for a ledger entry, with whose it is."""
    whose = {
        "user": entry.user_id,
        "email": entry.email,
        "team": entry.team,
        "account_id": entry.account_id,
    }
    return OwnedEntryResponse.model_validate({**entry_response(entry).model_dump(), **whose})


def entry_response(entry: Entry) -> EntryResponse:
    """Build the response for a ledger entry."""
    return EntryResponse(
        id=entry.id,
        kind=entry.kind,
        amount=entry.amount,
        balance_after=entry.balance_after,
        request_id=entry.request_id,
        actor=entry.actor,
        note=entry.note,
        estimated=entry.estimated,
        created_at=entry.created_at,
    )
