"""The addresses that alerts are sent to: made, listed, removed.

Works in the caller's transaction and never commits. A secret is returned once, when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from sqlalchemy import func, select, update

from tokenbalance.alerts.errors import UnknownWebhook, WebhookError
from tokenbalance.alerts.events import ACCOUNT_EVENTS, EVENTS, TEST
from tokenbalance.alerts.signing import new_secret
from tokenbalance.alerts.traces import record_change
from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Account, Alert, AlertDelivery, Webhook

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.events import Change
    from tokenbalance.model import Actor

WEBHOOKS_MAX: Final = 10
"""Of an account, or of the operator."""
URL_CHARS_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """An address that alerts are sent to, without its secret."""

    id: int
    account_id: int | None
    """Whose alerts it gets; None: everybody's and the operator's."""
    url: str
    events: tuple[str, ...]
    """Those that it gets; empty: all."""
    created_at: datetime
    last_delivery_at: datetime | None
    """When the last alert arrived, or was given up."""
    problem: str | None
    """Why the newest delivery has not arrived; None: it has, or there was none."""


async def make_webhook(
    session: AsyncSession,
    account_id: int | None,
    url: str,
    events: Collection[str] = (),
    *,
    actor: Actor,
) -> tuple[WebhookRow, str]:
    """Make a webhook and its secret.

    Args:
        session: the caller's transaction.
        account_id: whose alerts it gets; None: everybody's and the operator's.
        url: where they are sent to.
        events: those that it gets; empty: all.
        actor: who makes it, to be recorded.

    Raises:
        WebhookError: an argument is not acceptable, or there are too many.

    """
    _check_url(url)
    known = EVENTS if account_id is None else ACCOUNT_EVENTS
    for event in events:
        if event not in known:
            raise WebhookError("events", f"must be of {', '.join(known)}")
    if account_id is not None:
        # Others who make one wait, so that all are counted.
        account = select(Account.id).where(Account.id == account_id)
        _ = await session.execute(account.with_for_update(key_share=True))
    count = await session.scalar(select(func.count()).select_from(Webhook).where(*_of(account_id)))
    if (count or 0) >= WEBHOOKS_MAX:
        raise WebhookError("url", f"there are {WEBHOOKS_MAX} webhooks already: remove one")
    chosen = [one for one in known if one in events]
    webhook = Webhook(account_id=account_id, url=url, secret=new_secret(), events=chosen)
    session.add(webhook)
    await session.flush()
    await session.refresh(webhook)
    await _record(session, actor, "webhook.created", webhook)
    return _row(webhook, None, None), webhook.secret


async def webhooks_of(session: AsyncSession, account_id: int | None) -> list[WebhookRow]:
    """Return the webhooks of an account, or the operator's, in the order of creation."""
    newest = (
        select(AlertDelivery.done_at, AlertDelivery.problem)
        .where(AlertDelivery.webhook_id == Webhook.id)
        .order_by(AlertDelivery.id.desc())
        .limit(1)
        .lateral("newest")
    )
    query = (
        select(Webhook, newest.c.done_at, newest.c.problem)
        .outerjoin(newest, Webhook.id == Webhook.id)
        .where(*_of(account_id))
        .order_by(Webhook.id)
    )
    rows = cast(
        "Sequence[tuple[Webhook, datetime | None, str | None]]",
        (await session.execute(query)).all(),
    )
    return [_row(*row) for row in rows]


async def account_of_webhook(session: AsyncSession, webhook_id: int) -> int | None:
    """Return whose alerts a webhook gets; None: everybody's and the operator's.

    Raises:
        UnknownWebhook: no webhook has this id.

    """
    one = select(Webhook.account_id).where(Webhook.id == webhook_id)
    row = (await session.execute(one)).one_or_none()
    if row is None:
        raise UnknownWebhook(webhook_id)
    return row[0]


async def remove_webhook(
    session: AsyncSession, webhook_id: int, account_id: int | None, *, actor: Actor
) -> None:
    """Remove a webhook; what is on its way to it is given up. Again, it changes nothing.

    Args:
        session: the caller's transaction.
        webhook_id: which.
        account_id: the account that it must belong to; None: any, or the operator.
        actor: who removes it, to be recorded.

    Raises:
        UnknownWebhook: it is not there, or is another account's.

    """
    webhook = await _find(session, webhook_id, account_id)
    if webhook.removed_at is not None:
        return
    one = update(Webhook).where(Webhook.id == webhook_id)
    _ = await session.execute(one.values(removed_at=func.now()))
    await _give_up(session, webhook_id, "the webhook was removed")
    await _record(session, actor, "webhook.removed", webhook)


async def try_webhook(
    session: AsyncSession, webhook_id: int, account_id: int | None, *, actor: Actor
) -> None:
    """Write an alert for one webhook, that says nothing else; arguments as above.

    It takes the place of one that has not arrived yet, so that no number of them keeps the alerts
    of others waiting.

    Raises:
        UnknownWebhook: it is not there, was removed, or is another account's.

    """
    webhook = await _find(session, webhook_id, account_id)
    if webhook.removed_at is not None:
        raise UnknownWebhook(webhook_id)
    await _give_up(session, webhook_id, "a newer test took its place", Alert.event == TEST)
    alert = Alert(account_id=webhook.account_id, event=TEST, data={}, is_addressed=True)
    session.add(alert)
    await session.flush()
    session.add(AlertDelivery(alert_id=alert.id, webhook_id=webhook.id))
    await _record(session, actor, "webhook.tried", webhook)


async def _give_up(
    session: AsyncSession, webhook_id: int, problem: str, *which: ColumnElement[bool]
) -> None:
    # Locked in the order in which the sender notes them, so that neither waits for the other.
    pending = (
        select(AlertDelivery.id)
        .join(Alert, Alert.id == AlertDelivery.alert_id)
        .where(AlertDelivery.webhook_id == webhook_id, AlertDelivery.done_at.is_(None), *which)
        .order_by(AlertDelivery.id)
        .with_for_update(of=AlertDelivery)
    )
    ids = list(await session.scalars(pending))
    given_up = update(AlertDelivery).where(AlertDelivery.id.in_(ids))
    _ = await session.execute(given_up.values(done_at=func.now(), problem=problem))


async def _record(session: AsyncSession, actor: Actor, event: Change, webhook: Webhook) -> None:
    # Without its query, which may have a token.
    url = webhook.url.partition("?")[0]
    await record_change(session, actor, event, webhook.account_id, webhook=webhook.id, url=url)


async def _find(session: AsyncSession, webhook_id: int, account_id: int | None) -> Webhook:
    query = select(Webhook).where(Webhook.id == (webhook_id if 0 < webhook_id <= ID_MAX else 0))
    if account_id is not None:
        query = query.where(Webhook.account_id == account_id)
    webhook = await session.scalar(query.with_for_update())
    if webhook is None:
        raise UnknownWebhook(webhook_id)
    return webhook


def _of(account_id: int | None) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (Webhook.account_id.is_not_distinct_from(account_id), Webhook.removed_at.is_(None))


def _row(webhook: Webhook, done_at: datetime | None, problem: str | None) -> WebhookRow:
    return WebhookRow(
        webhook.id,
        webhook.account_id,
        webhook.url,
        tuple(webhook.events),
        webhook.created_at,
        done_at,
        problem,
    )


def _check_url(url: str) -> None:
    """Refuse what is no address of a server, or shows a password."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        parts, is_usable = None, False
    if len(url) > URL_CHARS_MAX or not (url.isascii() and url.isprintable()) or " " in url:
        is_usable = False
    if parts is None or not is_usable:
        raise WebhookError("url", "must be an address such as https://example.com/hook")
    if parts.username is not None or parts.fragment:
        raise WebhookError("url", "must have no user name, password or fragment")
