"""Alerts arrive at webhooks once, signed; what does not arrive is tried again and given up."""

from __future__ import annotations

import asyncio
import base64
import hmac
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder
from tests.support.locks import until_blocked
from tests.support.threads import busy_threads
from tests.support.upstream import Response, ScriptedUpstream
from tokenbalance.alerts import outbox
from tokenbalance.alerts.errors import UnknownWebhook, WebhookError
from tokenbalance.alerts.operator import OperatorAlerts
from tokenbalance.alerts.sender import Receivers, Sender
from tokenbalance.alerts.signing import new_secret, signed_headers
from tokenbalance.alerts.webhooks import (
    WEBHOOKS_MAX,
    make_webhook,
    remove_webhook,
    try_webhook,
    webhooks_of,
)
from tokenbalance.model import CLI
from tokenbalance.wire.callbacks import Callbacks, NotDelivered, is_public

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions


@pytest.fixture
async def receiver() -> AsyncGenerator[ScriptedUpstream]:
    async with ScriptedUpstream() as receiver:
        receiver.always(Response(status=204))
        yield receiver


@pytest.fixture
async def callbacks() -> AsyncGenerator[Callbacks]:
    callbacks = Callbacks(to_private=True)
    yield callbacks
    await callbacks.close()


@pytest.fixture
def sender(sessions: Sessions, callbacks: Callbacks) -> Sender:
    return Sender(sessions, Receivers(callbacks, NotDelivered))


async def hook(
    sessions: Sessions, receiver: ScriptedUpstream, account_id: int | None, *events: str
) -> str:
    async with sessions.begin() as session:
        _, secret = await make_webhook(
            session, account_id, f"{receiver.base_url}/hook", events, actor=CLI
        )
    return secret


async def write(pool: Pool, account_id: int | None, event: str = "balance.low") -> int:
    return await pool.fetchval(
        "INSERT INTO alerts (account_id, event, data) VALUES ($1, $2, '{\"balance\": 5}')"
        " RETURNING id",
        account_id,
        event,
    )


async def pending(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM alert_deliveries WHERE done_at IS NULL")


async def test_an_alert_arrives_once_signed_with_the_secret(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream, callbacks: Callbacks
) -> None:
    holder, other = await create_holder(pool), await create_holder(pool)
    secret = await hook(sessions, receiver, holder.account_id)
    _ = await hook(sessions, receiver, other.account_id)
    alert_id = await write(pool, holder.account_id)
    senders = [Sender(sessions, Receivers(callbacks, NotDelivered)) for _ in range(4)]
    for _ in range(2):
        _ = await asyncio.gather(*(sender.step() for sender in senders))
    (request,) = receiver.requests
    body = orjson.loads(request.body)
    assert body["type"] == "balance.low"
    assert body["data"] == {"balance": 5, "account_id": holder.account_id}
    name, timestamp = request.header("webhook-id"), request.header("webhook-timestamp")
    assert name == f"alert_{alert_id}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{name}.{timestamp}.".encode() + request.body
    proof = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert request.header("webhook-signature") == f"v1,{proof}"
    assert await pending(pool) == 0


def test_a_signature_is_that_of_the_example_of_standard_webhooks() -> None:
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # gitleaks:allow - the published example
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert new_secret() != new_secret()


async def test_what_is_not_taken_is_tried_again_with_the_same_id_and_given_up_in_the_end(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream, sender: Sender
) -> None:
    holder = await create_holder(pool)
    _ = await hook(sessions, receiver, holder.account_id)
    _ = await write(pool, holder.account_id)
    receiver.always(Response(status=500))
    _ = await sender.step()
    _ = await sender.step()
    assert len(receiver.requests) == 1, "it waits before it tries again"
    async with sessions() as session:
        (row,) = await webhooks_of(session, holder.account_id)
    assert (row.problem, row.last_delivery_at) == ("the response was 500", None)
    await pool.execute("UPDATE alert_deliveries SET next_at = now()")
    receiver.always(Response(status=200))
    _ = await sender.step()
    first, second = receiver.requests
    assert first.header("webhook-id") == second.header("webhook-id")
    assert await pending(pool) == 0
    _ = await write(pool, holder.account_id)
    await pool.execute("UPDATE alerts SET created_at = now() - interval '71:59:58'")
    await pool.execute("UPDATE webhooks SET created_at = now() - interval '4 days'")
    receiver.always(Response(status=302, headers=[(b"location", receiver.base_url.encode())]))
    _ = await sender.step()
    assert await pending(pool) == 0
    assert await pool.fetchval("SELECT count(*) FROM alert_deliveries WHERE problem <> ''") == 1
    assert len(receiver.requests) == 3, "no redirect is followed"


async def test_the_operator_gets_everything_and_a_user_only_what_is_asked_for(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream, sender: Sender
) -> None:
    holder = await create_holder(pool)
    _ = await hook(sessions, receiver, None)
    _ = await hook(sessions, receiver, holder.account_id, "balance.empty")
    operator = OperatorAlerts(sessions)
    for _ in range(3):
        operator.tell("upstream_auth")
        operator.tell("invalid_api_key")
        await operator.close()
    _ = await write(pool, holder.account_id)
    _ = await sender.step()
    assert sorted(orjson.loads(one.body)["type"] for one in receiver.requests) == [
        "balance.low",
        "upstream.refused_key",
    ]


async def test_a_webhook_is_tried_out_and_removed(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream, sender: Sender
) -> None:
    holder = await create_holder(pool)
    _ = await hook(sessions, receiver, holder.account_id, "balance.empty")
    async with sessions.begin() as session:
        (row,) = await webhooks_of(session, holder.account_id)
        await try_webhook(session, row.id, holder.account_id, actor=CLI)
        with pytest.raises(UnknownWebhook):
            await remove_webhook(session, row.id, holder.account_id + 1, actor=CLI)
    _ = await sender.step()
    assert [orjson.loads(one.body)["type"] for one in receiver.requests] == ["webhook.test"]
    async with sessions.begin() as session:
        await try_webhook(session, row.id, holder.account_id, actor=CLI)
        for _ in range(2):
            await remove_webhook(session, row.id, None, actor=CLI)
        with pytest.raises(UnknownWebhook):
            await try_webhook(session, row.id, holder.account_id, actor=CLI)
    _ = await sender.step()
    assert len(receiver.requests) == 1
    assert await pending(pool) == 0


async def test_of_many_test_alerts_for_one_webhook_only_the_newest_is_on_its_way(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream, sender: Sender
) -> None:
    holder = await create_holder(pool)
    _ = await hook(sessions, receiver, holder.account_id)
    _ = await write(pool, holder.account_id)
    receiver.always(Response(status=500))
    _ = await sender.step()
    for _ in range(5):
        async with sessions.begin() as session:
            (row,) = await webhooks_of(session, holder.account_id)
            await try_webhook(session, row.id, holder.account_id, actor=CLI)
    assert await pending(pool) == 2, "the alert and the newest test"
    assert await pool.fetchval("SELECT count(*) FROM alert_deliveries WHERE problem ~ 'newer'") == 4


async def test_receivers_take_turns_whatever_one_of_them_has_waiting(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream
) -> None:
    busy, other = await create_holder(pool), await create_holder(pool)
    _ = await hook(sessions, receiver, busy.account_id)
    _ = await hook(sessions, receiver, other.account_id)
    for _ in range(30):
        _ = await write(pool, busy.account_id)
    _ = await write(pool, other.account_id)
    async with sessions.begin() as session:
        _ = await outbox.address(session, mails=False, operators=())
        taken = await outbox.take(session, 4)
    assert [one.account_id for one in taken].count(other.account_id) == 1


async def test_a_webhook_is_removed_while_its_alerts_are_noted(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream
) -> None:
    holder = await create_holder(pool)
    _ = await hook(sessions, receiver, holder.account_id)
    for _ in range(2):
        _ = await write(pool, holder.account_id)
    async with sessions.begin() as session:
        _ = await outbox.address(session, mails=False, operators=())
        (row,) = await webhooks_of(session, holder.account_id)

    async def remove() -> None:
        async with sessions.begin() as session:
            await remove_webhook(session, row.id, None, actor=CLI)

    async with sessions.begin() as session:
        first, second = await outbox.take(session, 2)
    # As after other attempts, the first comes after the second.
    later = "UPDATE alert_deliveries SET next_at = next_at + interval '1 s' WHERE id = $1"
    await pool.execute(later, first.id)
    async with sessions.begin() as session:
        _ = await outbox.note(session, first, "the response was 500")
        removing = asyncio.create_task(remove())
        await until_blocked(pool)
        _ = await outbox.note(session, second, "the response was 500")
    await removing
    assert await pending(pool) == 0


async def test_no_number_of_webhooks_made_at_once_is_more_than_there_may_be(
    pool: Pool, sessions: Sessions, receiver: ScriptedUpstream
) -> None:
    holder = await create_holder(pool)
    made = await asyncio.gather(
        *(hook(sessions, receiver, holder.account_id) for _ in range(WEBHOOKS_MAX + 5)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, str) for one in made) == WEBHOOKS_MAX


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "https://",
        "https://a:b@example.com/",
        "https://example.com/#x",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "https://" + "x" * 2000,
    ],
)
async def test_what_is_no_address_of_a_server_is_refused(sessions: Sessions, url: str) -> None:
    async with sessions.begin() as session:
        with pytest.raises(WebhookError, match=r"^url: "):
            _ = await make_webhook(session, None, url, actor=CLI)


async def test_events_that_are_not_ones_own_are_refused(pool: Pool, sessions: Sessions) -> None:
    holder: Holder = await create_holder(pool)
    async with sessions.begin() as session:
        with pytest.raises(WebhookError, match=r"^events: "):
            _ = await make_webhook(
                session, holder.account_id, "https://example.com/", ["upstream.quota"], actor=CLI
            )


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("192.0.2.1", False),
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("2002:7f00:1::", False),
        ("2606:4700::1111", True),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::8.8.8.8", True),
        ("::127.0.0.1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("nonsense", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, *, public: bool) -> None:
    assert is_public(address) is public


async def test_names_of_users_are_looked_up_while_the_threads_of_others_are_busy(
    receiver: ScriptedUpstream, callbacks: Callbacks
) -> None:
    async with busy_threads(), asyncio.timeout(5):
        await callbacks.post(receiver.base_url.replace("127.0.0.1", "localhost"), {}, b"{}")
    assert len(receiver.requests) == 1


async def test_a_private_address_is_not_reached_unless_that_is_allowed(
    receiver: ScriptedUpstream,
) -> None:
    callbacks = Callbacks()
    for host in ("127.0.0.1", "localhost"):
        url = receiver.base_url.replace("127.0.0.1", host)
        with pytest.raises(NotDelivered, match="its address is not public"):
            await callbacks.post(url, {}, b"{}")
    await callbacks.close()
    assert receiver.requests == []
