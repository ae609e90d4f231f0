from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from tokenbalance.people.limits import LIMITS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


async def test_a_secret_is_shown_once_and_only_its_hash_is_kept(cli: Cli, pool: Pool) -> None:
    cli("user", "create", "a@b.c")

    response = cli("key", "create", "A@b.c", "--name", "laptop")

    # All of standard output, so that KEY=$(tokenbalance key create ...) is the secret.
    secret = response.out.removesuffix("\n")
    assert secret.startswith("sk-tb-")
    assert secret.split() == [secret]
    stored = await pool.fetchrow("SELECT secret_sha256, prefix, name FROM api_keys")
    assert stored is not None
    assert tuple(stored) == (sha256(secret.encode()).digest(), secret[:12], "laptop")
    assert secret not in cli("key", "list", "a@b.c").out


def test_keys_are_listed_with_their_dates_and_stay_revoked(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    before = datetime.now(UTC)
    created = cli.json("key", "create", "a@b.c", "--expires-in-days", "2")
    secret = created.pop("key")
    assert created["prefix"] == secret[:12]
    assert created == {
        "id": 1,
        "prefix": secret[:12],
        "name": "",
        "created_at": created["created_at"],
        "expires_at": created["expires_at"],
        "revoked_at": None,
        "last_used_at": None,
        "insufficient_status": None,
        "force_store_false": False,
        "scopes": ["inference"],
        "made_by_key_id": None,
        "user_id": 1,
        "team_id": None,
        "project_id": None,
        "is_suspended": False,
        "sub_account_from": None,
        "sub_account_limits": {},
        **dict.fromkeys(LIMITS),
    }
    lifetime = datetime.fromisoformat(created["expires_at"]) - before
    assert timedelta(days=2) <= lifetime < timedelta(days=2, minutes=5)

    revoked = cli.json("key", "revoke", "1")
    assert revoked.pop("revoked_with_it") == 0

    assert datetime.fromisoformat(revoked["revoked_at"]).utcoffset() == timedelta(0)
    assert cli.json("key", "revoke", "1") == {**revoked, "revoked_with_it": 0}
    assert cli.json("key", "list", "a@b.c") == [revoked]
    assert "id 2" in cli.refused("key", "revoke", "2")


def test_a_key_chooses_the_status_of_what_its_balance_does_not_cover(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    created = cli.json("key", "create", "a@b.c", "--insufficient-status", "429")
    assert created["insufficient_status"] == 429
    assert [key["insufficient_status"] for key in cli.json("key", "list", "a@b.c")] == [429]
    assert cli("key", "create", "a@b.c", "--insufficient-status", "403").code == 2


def test_a_key_stores_nothing_until_it_may_again(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    created = cli.json("key", "create", "a@b.c", "--force-store-false")
    assert created["force_store_false"] is True
    changed = cli.json("key", "change", str(created["id"]), "--allow-store")
    assert changed["force_store_false"] is False


async def test_a_rotated_key_has_another_secret_and_the_same_id(cli: Cli, pool: Pool) -> None:
    cli("user", "create", "a@b.c")
    created = cli.json("key", "create", "a@b.c", "--name", "laptop", "--expires-in-days", "2")

    rotated = cli.json("key", "rotate", "1")
    response = cli("key", "rotate", "1")

    secrets = [created.pop("key"), rotated.pop("key"), response.out.removesuffix("\n")]
    assert len(set(secrets)) == 3
    assert rotated == {**created, "prefix": secrets[1][:12]}
    assert response.err == "Key rotated: 1. Its secret is shown only once:\n"
    stored = await pool.fetchval("SELECT secret_sha256 FROM api_keys")
    assert stored == sha256(secrets[2].encode()).digest()
    assert "id 2" in cli.refused("key", "rotate", "2")
    cli("key", "revoke", "1")
    assert "was revoked" in cli.refused("key", "rotate", "1")


def test_a_key_has_the_scopes_that_are_asked_for(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    asked = ("--scope", "manage", "--scope", "read")
    assert cli.json("key", "create", "a@b.c", *asked)["scopes"] == ["read", "manage"]
    assert cli("key", "create", "a@b.c", "--scope", "write").code == 2
    listed = cli("key", "list", "a@b.c").out
    assert "read, manage" in listed


def test_a_key_is_changed_in_what_is_said_and_in_nothing_else(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    created = cli.json("key", "create", "a@b.c", "--name", "laptop", "--expires-in-days", "2")
    del created["key"]

    changed = cli.json(
        "key", "change", "1", "--insufficient-status", "429", "--scope", "read", "--name", "desk"
    )
    assert changed == {**created, "insufficient_status": 429, "scopes": ["read"], "name": "desk"}
    changed = cli.json("key", "change", "1", "--insufficient-status", "default", "--never-expires")
    assert (changed["insufficient_status"], changed["expires_at"]) == (None, None)
    changed = cli.json("key", "change", "1", "--expires-in-days", "9", "--name", "")
    assert changed["expires_at"] > created["expires_at"]
    assert (changed["name"], changed["scopes"]) == ("", ["read"])

    response = cli("key", "change", "1", "--name", "x")
    assert response.out == f"Key changed: 1 {created['prefix']}…\n"
    assert cli("key", "change", "1").code == 2
    assert cli("key", "change", "1", "--never-expires", "--expires-in-days", "1").code == 2
    assert cli("key", "change", "1", "--insufficient-status", "403").code == 2
    assert "id 2" in cli.refused("key", "change", "2", "--name", "x")
    cli("key", "revoke", "1")
    assert "was revoked" in cli.refused("key", "change", "1", "--name", "x")


async def test_a_revoked_key_takes_along_what_was_made_with_it(cli: Cli, pool: Pool) -> None:
    cli("user", "create", "a@b.c")
    for _ in range(3):
        cli("key", "create", "a@b.c")
    await pool.execute("UPDATE api_keys SET made_by_key_id = id - 1 WHERE id > 1")
    assert [key["made_by_key_id"] for key in cli.json("key", "list", "a@b.c")] == [None, 1, 2]
    assert cli.json("key", "revoke", "3")["revoked_with_it"] == 0
    lines = cli("key", "revoke", "1").out.splitlines()
    assert lines[0].startswith("Key revoked: 1 sk-tb-")
    assert lines[1:] == ["Keys made with it, revoked as well: 1"]


async def test_all_keys_of_a_user_are_revoked_and_tokens_only_if_asked(
    cli: Cli, pool: Pool
) -> None:
    working = "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND kind = $1"
    for email in ("a@b.c", "b@b.c"):
        cli("user", "create", email)
        cli("key", "create", email)
        cli("key", "create", email)
    await pool.execute("UPDATE api_keys SET kind = 'sign-in' WHERE id = 2")
    assert cli("key", "revoke-all", "A@b.c").out == "Keys revoked: 1\n"
    assert [await pool.fetchval(working, kind) for kind in ("key", "sign-in")] == [2, 1]
    assert cli.json("key", "revoke-all", "a@b.c", "--tokens") == {"revoked": 0}
    assert [await pool.fetchval(working, kind) for kind in ("key", "sign-in")] == [2, 0]
    assert "x@b.c" in cli.refused("key", "revoke-all", "x@b.c")
