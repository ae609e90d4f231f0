"""Users, their accounts and their API keys as everybody outside `people` sees them.

Frozen and detached from any session. No password hash is in them, and a secret's SHA-256 only
compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TYPE_CHECKING

from tokenbalance.model import SCOPES
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.key_terms import KeyTerms
from tokenbalance.people.limits import NO_LIMITS, KeyLimits
from tokenbalance.people.secrets import sha256

if TYPE_CHECKING:
    from datetime import datetime

    from tokenbalance.database.tables import Account, ApiKey, User
    from tokenbalance.model import Scope


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Who pays. Amounts are credits."""

    id: int
    balance: int
    held: int
    overdraft: int
    limits: KeyLimits = NO_LIMITS
    """Of all its requests together."""
    time_zone: str = "UTC"
    """IANA name: where its days, weeks and months begin."""
    user_id: int | None = None
    """Whose it is; None: a team's."""
    name: str = ""
    """Of a team; empty: a user's."""

    @property
    def available(self) -> int:
        """What a new hold may take, in credits."""
        return self.balance + self.overdraft - self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A user with the account that pays for them."""

    id: int
    email: str
    name: str
    is_superuser: bool
    is_active: bool
    has_password: bool
    """False: cannot sign in."""
    created_at: datetime
    last_sign_in_at: datetime | None
    tags: tuple[str, ...] = ()
    """Sorted, each once."""
    account: AccountRow


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """An API key without its secret."""

    id: int
    account_id: int
    prefix: str
    """The beginning of the secret, to tell keys apart."""
    name: str
    created_at: datetime
    expires_at: datetime | None
    """None: never."""
    revoked_at: datetime | None
    last_used_at: datetime | None
    insufficient_status: int | None
    """The status of a request that the balance does not cover; None: the operator's choice."""
    force_store_false: bool
    """Its responses and chats are sent with `store: false`, whatever they ask for."""
    bounded: BoundedLimits
    """Its limits, and how far its owner may change them."""
    scopes: tuple[Scope, ...]
    """What it may be used for."""
    made_by_key_id: int | None
    """The key with which it was made, with which it ends; None if a person made it."""
    sub_account_from: str | None
    """Where a request names its end user; None: nowhere."""
    sub_account_limits: KeyLimits
    """Of each end user."""
    user_id: int | None
    """Who answers for it; None: a service key of a team."""
    project_id: int | None
    is_suspended: bool
    """Refused until its member or project is active again; of keys of a team only."""
    secret_sha256: bytes = field(repr=False)

    @property
    def limits(self) -> KeyLimits:
        """What limits its requests."""
        return self.bounded.limits

    @property
    def terms(self) -> KeyTerms:
        """What it may do, and until when."""
        return KeyTerms(
            scopes=self.scopes,
            expires_at=self.expires_at,
            limits=self.limits,
            insufficient_status=self.insufficient_status,
            force_store_false=self.force_store_false,
            sub_account_from=self.sub_account_from,
            sub_account_limits=self.sub_account_limits,
        )

    def has_ended(self, now: datetime) -> bool:
        """Whether the key was revoked or has expired."""
        return self.revoked_at is not None or (
            self.expires_at is not None and self.expires_at <= now
        )

    def has_secret(self, secret: str) -> bool:
        """Whether this is the key's secret."""
        return compare_digest(sha256(secret), self.secret_sha256)


@dataclass(frozen=True, slots=True)
class OwnedKey:
    """A key and who answers for it."""

    key: KeyRow
    user_id: int | None
    """None: a service key of a team."""
    email: str
    """Empty where there is no user."""
    team: str
    """Who pays, by name; empty: the user alone."""


def user_row(user: User) -> UserRow:
    """Copy a user, whose account must be loaded."""
    return UserRow(
        id=user.id,
        email=user.email,
        name=user.name,
        is_superuser=user.is_superuser,
        is_active=user.is_active,
        has_password=user.password_hash is not None,
        created_at=user.created_at,
        last_sign_in_at=user.last_sign_in_at,
        tags=tuple(user.tags),
        account=account_row(user.account),
    )


def account_row(account: Account) -> AccountRow:
    """Copy an account."""
    return AccountRow(
        account.id,
        account.balance,
        account.held,
        account.overdraft,
        KeyLimits.stored(account.limits),
        account.time_zone,
        account.user_id,
        account.name,
    )


def key_row(key: ApiKey) -> KeyRow:
    """Copy a key."""
    return KeyRow(
        id=key.id,
        account_id=key.account_id,
        prefix=key.prefix,
        name=key.name,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        insufficient_status=key.insufficient_status,
        force_store_false=key.force_store_false,
        bounded=BoundedLimits.stored(key.limits),
        scopes=tuple(scope for scope in SCOPES if scope in key.scopes),
        made_by_key_id=key.made_by_key_id,
        sub_account_from=key.sub_account_from,
        sub_account_limits=KeyLimits.stored(key.sub_account_limits),
        user_id=key.user_id,
        project_id=key.project_id,
        is_suspended=key.is_suspended,
        secret_sha256=key.secret_sha256,
    )
