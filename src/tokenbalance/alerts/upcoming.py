"""What is about to end: API keys, grants and models. Looked for once an hour; each is told once.

Grants that an allowance has issued are not told: the next one follows. Any number of replicas may
look.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.alerts.operator import tell_operator
from tokenbalance.alerts.repeating import repeat
from tokenbalance.books.grants.due import bring_up_to_date
from tokenbalance.books.reports import Group, Period, UsageQuery, all_usage_by
from tokenbalance.database.tables import Alert, ApiKey, Grant
from tokenbalance.openai.tokens.models import retirement_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.model import UpstreamTraits

KEY_NOTICE: Final = timedelta(days=7)
GRANT_NOTICE: Final = timedelta(days=7)
MODEL_NOTICE: Final = timedelta(days=60)
_USED_WITHIN: Final = timedelta(days=30)
_EVERY_S: Final = 3600.0
_RETRY_S: Final = 30.0


class Upcoming:
    """Looks for what is about to end."""

    def __init__(self, sessions: Sessions, upstream: UpstreamTraits) -> None:
        self._sessions = sessions
        self._upstream = upstream

    async def run(self) -> None:
        """Look at once and then every hour, until cancelled; no error ends it."""
        await repeat(self.look, "nothing upcoming can be told", _EVERY_S, _RETRY_S)

    async def look(self) -> None:
        """Look once."""
        async with self._sessions.begin() as session:
            await tell_of_keys(session)
            await tell_of_models(session, self._upstream)
        await tell_of_grants(self._sessions)


async def tell_of_keys(session: AsyncSession) -> None:
    """Tell of keys that work and expire within a week, whose life is longer than that."""
    expiring = select(
        ApiKey.account_id,
        literal("key.expiring"),
        func.jsonb_build_object(
            "key_id",
            ApiKey.id,
            "name",
            ApiKey.name,
            "prefix",
            ApiKey.prefix,
            "expires_at",
            ApiKey.expires_at,
        ),
        func.concat("key ", ApiKey.id, " ", cast(ApiKey.expires_at, Text)),
    ).where(
        ApiKey.kind == "key",
        ApiKey.revoked_at.is_(None),
        ~ApiKey.is_suspended,
        ApiKey.expires_at > func.now(),
        ApiKey.expires_at <= func.now() + KEY_NOTICE,
        ApiKey.created_at < ApiKey.expires_at - KEY_NOTICE,
    )
    new = insert(Alert).from_select(["account_id", "event", "data", "once"], expiring)
    _ = await session.execute(new.on_conflict_do_nothing())


async def tell_of_grants(sessions: Sessions) -> None:
    """Tell of grants that end within a week and of which something remains, as `tell_of_keys`.

    What remains is known once it was burnt: account by account, since that locks each.
    """
    once = func.concat("grant ", Grant.id, " ", cast(Grant.expires_at, Text))
    ending = (
        Grant.remaining > 0,
        Grant.allowance_id.is_(None),
        Grant.expires_at > func.now(),
        Grant.expires_at <= func.now() + GRANT_NOTICE,
        Grant.created_at < Grant.expires_at - GRANT_NOTICE,
    )
    told = select(Alert.id).where(Alert.account_id == Grant.account_id, Alert.once == once)
    async with sessions() as session:
        accounts = (
            await session.scalars(
                select(Grant.account_id).where(*ending, ~told.exists()).distinct()
            )
        ).all()
    for account_id in accounts:
        found = select(
            Grant.account_id,
            literal("grant.expiring"),
            func.jsonb_build_object(
                "grant_id", Grant.id, "remaining", Grant.remaining, "expires_at", Grant.expires_at
            ),
            once,
        ).where(*ending, Grant.account_id == account_id)
        new = insert(Alert).from_select(["account_id", "event", "data", "once"], found)
        async with sessions.begin() as session:
            await bring_up_to_date(session, account_id)
            _ = await session.execute(new.on_conflict_do_nothing())


async def tell_of_models(session: AsyncSession, upstream: UpstreamTraits) -> None:
    """Tell the operator of models in use that are shut down within 60 days."""
    today = datetime.now(UTC).date()
    period = Period(datetime.combine(today - _USED_WITHIN, time(), UTC))
    used = await all_usage_by(session, UsageQuery(groups=frozenset({Group.MODEL}), period=period))
    for name in {row.model for row in used if row.model is not None}:
        retires = retirement_of(name, upstream)
        if retires is not None and today <= retires <= today + MODEL_NOTICE:
            day = retires.isoformat()
            await tell_operator(
                session, "model.shutdown_soon", f"{name} {day}", model=name, retires=day
            )
