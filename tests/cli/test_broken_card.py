"""A rate card with a mistake stops the commands that need it, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rerates import card
from tokenbalance.app import create_app_from_environment
from tokenbalance.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli

MISTAKE = "error: TOKENBALANCE_RATE_CARD: line 3: input: is not a known key"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.toml"
    _ = path.write_text("version = 2\n\ninput = 1\n")
    return path


@pytest.fixture
def shop(cli: Cli, broken: Path) -> Cli:
    """The command with that card."""
    cli.settings["TOKENBALANCE_RATE_CARD"] = str(broken)
    return cli


def test_commands_that_need_no_card_work(shop: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    _ = other.write_text(card())
    for arguments in (
        ("user", "create", "a@b.c", "--balance", "10"),
        ("key", "list", "a@b.c"),
        ("balance", "show", "a@b.c"),
        ("ledger", "verify"),
        ("ledger", "rerate", "--since", "2026-01-01", "--card", str(other)),
        ("events", "list"),
    ):
        response = shop(*arguments)
        assert (response.code, response.err) == (0, ""), arguments


@pytest.mark.parametrize(
    "command", [("serve", "--port", "0"), ("rates", "check"), ("rates", "propose")], ids=" ".join
)
def test_commands_that_use_the_card_say_what_is_wrong_with_it(
    shop: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    del shop.settings["DATABASE_URL"]
    assert shop.refused(*command).startswith(MISTAKE)
    # Before they start a database.
    assert not (tmp_path / "data").exists()


def test_a_worker_does_not_start(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    monkeypatch.chdir(broken.parent)
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/books")
    monkeypatch.setenv("TOKENBALANCE_RATE_CARD", str(broken))
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_RATE_CARD: line 3: input"):
        _ = create_app_from_environment()
