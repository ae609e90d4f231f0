"""What is about to end: API keys and models. Looked for once an hour; each is told once.

What is about grants is told by the same step once they have ends. Any number of replicas may look.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.alerts.operator import tell_operator
from tokenbalance.alerts.repeating import repeat
from tokenbalance.books.reports import Group, Period, UsageQuery, all_usage_by
from tokenbalance.database.tables import Alert, ApiKey
from tokenbalance.openai.tokens.models import retirement_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.model import UpstreamTraits

KEY_NOTICE: Final = timedelta(days=7)
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


async def tell_of_keys(session: AsyncSession) -> None:
    """Tell of keys that expire within a week, whose life is longer than that."""
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
        ApiKey.expires_at > func.now(),
        ApiKey.expires_at <= func.now() + KEY_NOTICE,
        ApiKey.created_at < ApiKey.expires_at - KEY_NOTICE,
    )
    new = insert(Alert).from_select(["account_id", "event", "data", "once"], expiring)
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
