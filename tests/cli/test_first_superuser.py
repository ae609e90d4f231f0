from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.cli.test_serve import serving
from tokenbalance.database.connections import open_sessions
from tokenbalance.people.first_superuser import create_first_superuser
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.users import EmailTaken, InvalidEmail

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

PASSWORD = "correct horse battery staple"


async def test_the_first_superuser_is_created_once_and_never_changed(dsn: str, pool: Pool) -> None:
    async with open_sessions(dsn) as sessions:
        assert await create_first_superuser(sessions, "Root@Example.com", PASSWORD)
        before = await pool.fetch("SELECT * FROM users")
        assert not await create_first_superuser(sessions, "root@example.com", "another password 1")
        assert not await create_first_superuser(sessions, "other@example.com", PASSWORD)
        # Not even a disabled one is replaced: somebody has disabled it on purpose.
        await pool.execute("UPDATE users SET is_active = false")
        assert not await create_first_superuser(sessions, "other@example.com", PASSWORD)
    await pool.execute("UPDATE users SET is_active = true")
    assert await pool.fetch("SELECT * FROM users") == before
    assert [(row["is_superuser"], row["is_active"]) for row in before] == [(True, True)]


async def test_a_user_is_never_made_a_superuser_by_a_setting(
    dsn: str, cli: Cli, pool: Pool
) -> None:
    cli("user", "create", "a@b.c")
    async with open_sessions(dsn) as sessions:
        with pytest.raises(EmailTaken):
            await create_first_superuser(sessions, "A@b.c", PASSWORD)
        with pytest.raises(InvalidEmail):
            await create_first_superuser(sessions, "nobody", PASSWORD)
        with pytest.raises(PasswordError):
            await create_first_superuser(sessions, "root@example.com", "abc")
    assert await pool.fetch("SELECT is_superuser FROM users") == [(False,)]


@pytest.mark.parametrize(
    ("email", "password", "refusal"),
    [
        ("root@example.com", None, "TOKENBALANCE_ADMIN_EMAIL and TOKENBALANCE_ADMIN_PASSWORD_FILE"),
        (None, PASSWORD, "TOKENBALANCE_ADMIN_EMAIL and TOKENBALANCE_ADMIN_PASSWORD_FILE"),
        ("nobody", PASSWORD, "TOKENBALANCE_ADMIN_EMAIL: "),
        ("root@example.com", "", "TOKENBALANCE_ADMIN_PASSWORD_FILE: "),
        ("root@example.com", "abc", "TOKENBALANCE_ADMIN_PASSWORD_FILE: "),
    ],
)
def test_a_wrong_first_superuser_stops_the_start(
    cli: Cli, tmp_path: Path, email: str | None, password: str | None, refusal: str
) -> None:
    if email is not None:
        cli.settings["TOKENBALANCE_ADMIN_EMAIL"] = email
    if password is not None:
        file = tmp_path / "password"
        _ = file.write_text(f"{password}\n", "utf-8")
        cli.settings["TOKENBALANCE_ADMIN_PASSWORD_FILE"] = str(file)
    line = cli.refused("serve", "--port", "0")
    assert line.startswith(f"error: {refusal}")
    assert not password or password not in line


def test_a_server_creates_the_first_superuser_who_can_sign_in(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "password"
    _ = file.write_text(f"{PASSWORD}\n", "utf-8")
    cli.settings["TOKENBALANCE_ADMIN_EMAIL"] = "root@example.com"
    cli.settings["TOKENBALANCE_ADMIN_PASSWORD_FILE"] = str(file)
    with serving(cli, "--sandbox") as (url, _):
        signed_in = httpx2.post(
            f"{url}/api/user/auth", json={"email": "root@example.com", "password": PASSWORD}
        )
        assert signed_in.status_code == 200
    assert cli.json("user", "show", "root@example.com")["is_superuser"] is True
