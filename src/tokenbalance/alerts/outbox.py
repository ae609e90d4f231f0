"""Alerts on their way: addressed to their receivers, taken by one sender, done or given up.

    written --address--> one delivery for each receiver --take--> under way --done--> arrived
                                                            ^           |
                                                            '---later---'--> given up after 3 days

Any number of replicas may send: a delivery that is under way is skipped by others until its lease
ends, which is when its sender has died. So an alert arrives once, and twice only where a sender
died between the response of a receiver and its own commit; the receiver knows it by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from sqlalchemy import and_, delete, func, literal, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.alerts.events import ACCOUNT_EVENTS
from tokenbalance.database.tables import (
    Account,
    Alert,
    AlertDelivery,
    Membership,
    User,
    Webhook,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    _Columns: TypeAlias = tuple[
        int,
        int,
        int,
        str,
        dict[str, object],
        datetime,
        int | None,
        str | None,
        str | None,
        str | None,
        str,
    ]

PAUSES_S: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 21600, 43200)
"""After each attempt that fails; the last one is repeated."""
GIVEN_UP_AFTER: Final = timedelta(days=3)
KEPT: Final = timedelta(days=90)
_LEASE: Final = timedelta(minutes=2)
"""More than an attempt can take."""
_ADDRESSED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert for one receiver."""

    id: int
    attempts: int
    """Those before this one."""
    alert_id: int
    event: str
    data: Mapping[str, object]
    created_at: datetime
    account_id: int | None
    url: str | None
    """Of a webhook."""
    secret: str | None
    email: str | None
    team: str
    """The name of the team that it is about; empty: it is about none."""


async def address(session: AsyncSession, *, mails: bool, operators: Sequence[str]) -> int:
    """Write the deliveries of alerts that have none yet.

    Args:
        session: a transaction.
        mails: whether e-mails can be sent.
        operators: the operator's e-mail addresses.

    Returns:
        How many alerts were addressed.

    """
    fresh = (
        select(Alert.id)
        .where(~Alert.is_addressed)
        .order_by(Alert.id)
        .limit(_ADDRESSED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ids = list(await session.scalars(fresh))
    if not ids:
        return 0
    deliveries = insert(AlertDelivery)
    to_webhooks = (
        select(Alert.id, Webhook.id)
        .join(
            Webhook,
            and_(
                or_(Webhook.account_id.is_(None), Webhook.account_id == Alert.account_id),
                Webhook.removed_at.is_(None),
                Webhook.created_at <= Alert.created_at,
                or_(func.cardinality(Webhook.events) == 0, Alert.event == func.any(Webhook.events)),
            ),
        )
        .where(Alert.id.in_(ids))
    )
    _ = await session.execute(deliveries.from_select(["alert_id", "webhook_id"], to_webhooks))
    if mails:
        for to_people in (_to_user(), _to_team()):
            told = to_people.where(
                Alert.id.in_(ids), Alert.event.in_(ACCOUNT_EVENTS), User.is_active
            )
            _ = await session.execute(deliveries.from_select(["alert_id", "email"], told))
        for email in operators:
            to_operator = select(Alert.id, literal(email)).where(
                Alert.id.in_(ids), Alert.account_id.is_(None)
            )
            _ = await session.execute(deliveries.from_select(["alert_id", "email"], to_operator))
    _ = await session.execute(update(Alert).where(Alert.id.in_(ids)).values(is_addressed=True))
    return len(ids)


def _to_user() -> Select[int, str]:
    return (
        select(Alert.id, User.email)
        .join(Account, Account.id == Alert.account_id)
        .join(User, User.id == Account.user_id)
    )


def _to_team() -> Select[int, str]:
    """Build who is told about a team: those who can do something about it."""
    is_told = and_(
        Membership.account_id == Alert.account_id,
        Membership.role.in_(("admin", "owner")),
        Membership.disabled_at.is_(None),
    )
    return (
        select(Alert.id, User.email)
        .join(Membership, is_told)
        .join(User, User.id == Membership.user_id)
    )


async def take(session: AsyncSession, most: int) -> list[Delivery]:
    """Take deliveries that are due; others leave them alone until their lease ends.

    Receivers take turns: one that is slow, and has many, does not keep others waiting for all.
    """
    is_due = (AlertDelivery.done_at.is_(None), AlertDelivery.next_at <= func.now())
    turn = func.row_number().over(
        partition_by=(AlertDelivery.webhook_id, AlertDelivery.email), order_by=AlertDelivery.next_at
    )
    in_turn = select(AlertDelivery.id, AlertDelivery.next_at, turn.label("turn")).where(*is_due)
    waiting = in_turn.subquery()
    first = select(waiting.c.id).order_by(waiting.c.turn, waiting.c.next_at).limit(most)
    due = (
        select(AlertDelivery.id)
        .where(AlertDelivery.id.in_(first), *is_due)
        .with_for_update(skip_locked=True)
    )
    ids = list(await session.scalars(due))
    if not ids:
        return []
    taken = update(AlertDelivery).where(AlertDelivery.id.in_(ids))
    _ = await session.execute(taken.values(next_at=func.now() + _LEASE))
    query = (
        select(
            AlertDelivery.id,
            AlertDelivery.attempts,
            Alert.id,
            Alert.event,
            Alert.data,
            Alert.created_at,
            Alert.account_id,
            Webhook.url,
            Webhook.secret,
            AlertDelivery.email,
            func.coalesce(Account.name, ""),
        )
        .join(Alert, Alert.id == AlertDelivery.alert_id)
        .outerjoin(Account, Account.id == Alert.account_id)
        .outerjoin(Webhook, Webhook.id == AlertDelivery.webhook_id)
        .where(AlertDelivery.id.in_(ids))
        .order_by(AlertDelivery.id)
    )
    rows = cast("Sequence[_Columns]", (await session.execute(query)).all())
    return [Delivery(*row) for row in rows]


async def note(session: AsyncSession, delivery: Delivery, problem: str | None) -> bool:
    """Note how an attempt went.

    Args:
        session: a transaction.
        delivery: which.
        problem: why it failed, one line without a secret; None: it has arrived.

    Returns:
        Whether it will not be tried again although it has not arrived.

    """
    one = update(AlertDelivery).where(
        AlertDelivery.id == delivery.id, AlertDelivery.done_at.is_(None)
    )
    tried = {"attempts": delivery.attempts + 1, "problem": problem}
    if problem is None:
        _ = await session.execute(one.values(**tried, done_at=func.now()))
        return False
    pause_s = PAUSES_S[min(delivery.attempts, len(PAUSES_S) - 1)]
    next_at = func.now() + timedelta(seconds=pause_s)
    given_up = await session.scalar(
        select(next_at > Alert.created_at + GIVEN_UP_AFTER).where(Alert.id == delivery.alert_id)
    )
    done_at = func.now() if given_up else None
    _ = await session.execute(one.values(**tried, next_at=next_at, done_at=done_at))
    return bool(given_up)


async def forget(session: AsyncSession) -> None:
    """Delete alerts that are old and done with, and their deliveries."""
    pending = select(true()).where(
        AlertDelivery.alert_id == Alert.id, AlertDelivery.done_at.is_(None)
    )
    _ = await session.execute(
        delete(Alert).where(Alert.created_at < func.now() - KEPT, ~pending.exists()),
        execution_options={"synchronize_session": False},
    )
