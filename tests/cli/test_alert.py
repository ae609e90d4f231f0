"""`alert` and `webhook`: who is told of what, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from tests.support.books import create_holder

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

URL = "https://example.com/hook"


async def test_the_balances_below_which_a_user_is_told(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool, 100)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    assert cli("alert", "below", email).out == "none\n"
    assert cli("alert", "below", email, "1", "1,000").out == "1,000, 1\n"
    shown = orjson.loads(cli("alert", "below", email, "--json").out)
    assert shown == {"user": email, "below": [1000, 1]}
    assert cli("alert", "below", email, "0").out == "none\n"
    refused = cli("alert", "below", email, *map(str, range(1, 12)))
    assert (refused.code, refused.out) == (1, "")
    assert "at most 10" in refused.err


async def test_alerts_are_listed(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    await pool.execute(
        "INSERT INTO alerts (account_id, event, data)"
        " VALUES ($1, 'balance.low', '{\"balance\": 5, \"below\": 9}')",
        holder.account_id,
    )
    assert "below 9, balance 5" in cli("alert", "list", "--user", email).out
    assert orjson.loads(cli("alert", "list", "--json").out) == []


def test_a_webhook_is_added_listed_tried_and_removed(cli: Cli) -> None:
    added = orjson.loads(cli("webhook", "add", URL, "--event", "books.violated", "--json").out)
    assert added["secret"].startswith("whsec_")
    (row,) = orjson.loads(cli("webhook", "list", "--json").out)
    assert (row["url"], row["events"]) == (URL, ["books.violated"])
    assert "secret" not in row
    assert "books.violated" in cli("webhook", "list").out
    webhook_id = str(added["id"])
    assert cli("webhook", "test", webhook_id).code == 0
    assert cli("webhook", "remove", webhook_id).out == f"webhook {webhook_id} removed\n"
    again = cli("webhook", "test", webhook_id)
    assert (again.code, again.err) == (1, f"error: no webhook has the id {webhook_id}\n")
    wrong = cli("webhook", "add", "nonsense")
    assert wrong.code == 1
    assert "url: must be an address" in wrong.err
